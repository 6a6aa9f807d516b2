"""The alerts and dashboards as they are shipped."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sidecar.metrics

FOLDER = Path(sidecar.metrics.__file__).parent
RULES = FOLDER / "alerts" / "manireports.rules.yml"
DASHBOARDS = sorted((FOLDER / "grafana").glob("*.json"))

_VARIABLES = {
    "$job": "manireports",
    "$company": ".*",
    "$provider": ".*",
    "$__rate_interval": "1m",
}


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """(dashboard and panel, expression) for every query; variables are filled in."""
    for path in DASHBOARDS:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        for panel in found["panels"]:
            for target in panel.get("targets", ()):
                expression = target["expr"]
                for name, value in _VARIABLES.items():
                    expression = expression.replace(name, value)
                yield f"{path.stem}: {panel['title']}", expression


def metric_names(text: str) -> set[str]:
    """The metrics of ours that a text names."""
    return set(re.findall(r"\bmanireports_[a-z_]+", text))
