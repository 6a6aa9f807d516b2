"""make_docs.py: writes docs/metrics.md from the metrics, and the table of docs/configuration.md
from the settings; a test checks both."""

import sys
from pathlib import Path

from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from scripts.describe_settings import filled
from sidecar.metrics.facts import FACTS, NOW, Fact
from sidecar.metrics.registry import Metrics

DOCS = Path(__file__).parents[1] / "docs"

HEAD = """# Metrics

Made from the metrics themselves by `scripts/make_docs.py`; do not edit. How to get them:
[monitoring](monitoring.md).
"""


def _row(name: str, labels: tuple[str, ...], meaning: str) -> str:
    marked = ", ".join(f"`{label}`" for label in labels)
    return f"| `{name}` | {marked} | {meaning} |"


def _counted(metric: MetricWrapperBase) -> str:
    ending = {Counter: "_total", Histogram: ""}.get(type(metric), "")
    kind = " (histogram)" if isinstance(metric, Histogram) else ""
    names = tuple(metric._labelnames)
    return _row(f"{metric._name}{ending}", names, metric._documentation + kind)


def _fact(fact: Fact) -> str:
    return _row(fact.name, fact.labels, fact.help)


def page() -> str:
    """The whole page."""
    metrics = [value for value in vars(Metrics()).values() if isinstance(value, MetricWrapperBase)]
    parts = (
        ("Counted by the process, from its start", [_counted(metric) for metric in metrics]),
        ("Asked of the tables at a scrape", [_fact(fact) for fact in FACTS]),
        ("Asked of the process at a scrape", [_fact(fact) for fact in NOW]),
    )
    lines = [HEAD]
    for title, rows in parts:
        lines += [f"## {title}\n", "| metric | labels | meaning |", "| --- | --- | --- |"]
        lines += [*sorted(rows), ""]
    lines.append(
        "Beside these: `manireports_build_info` with the label `version`, and of each of the two"
        "\ncollectors, `tables` and `process`, `manireports_collector_…_success` and"
        " `manireports_collector_…_duration_seconds`.\n"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    (DOCS / "metrics.md").write_text(page(), "utf-8")
    configuration = DOCS / "configuration.md"
    configuration.write_text(filled(configuration.read_text("utf-8")), "utf-8")
    sys.exit(0)
