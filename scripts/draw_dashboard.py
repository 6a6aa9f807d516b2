"""draw_dashboard.py PROMETHEUS DASHBOARD.json MINUTES: the dashboard as an HTML page on standard
output, for the picture in the docs where no Grafana is at hand: the same queries, the same layout.

    python scripts/draw_dashboard.py http://127.0.0.1:9090 sidecar/metrics/grafana/overview.json 10
"""

import html
import json
import math
import re
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

COLORS = ("#73bf69", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#fade2a", "#8ab8ff", "#ffa6b0")
FIXED = {
    "green": "#73bf69",
    "red": "#f2495c",
    "orange": "#ff9830",
    "purple": "#b877d9",
    "blue": "#5794f2",
    "yellow": "#fade2a",
}
NAMED = {"green": "#299c46", "orange": "#d68a1b", "red": "#c4162a"}
CELL, LINE = 50, 36
STEPS = 240

STYLE = """
body{margin:0;background:#111217;color:#ccccdc;font:13px/1.4 Inter,"Segoe UI",Roboto,sans-serif;width:1240px}
h1{font-size:18px;margin:14px 20px 6px}#g{position:relative;margin:0 20px}
.p{position:absolute;background:#181b1f;border:1px solid #2b2f36;border-radius:3px;box-sizing:border-box;overflow:hidden}
.p b{display:block;padding:6px 9px 2px;font-weight:500;font-size:12.5px}
.r{position:absolute;font-weight:600;font-size:14px;padding-top:8px}
.s{position:absolute;inset:26px 0 0;display:flex;align-items:center;justify-content:center;font-size:34px;color:#fff}
table{width:100%;border-collapse:collapse}td,th{text-align:left;padding:5px 9px;border-top:1px solid #2b2f36;font-size:12.5px}
th{color:#6e9fff;font-weight:500}.l{position:absolute;bottom:4px;left:9px;right:9px;font-size:11.5px;white-space:nowrap;overflow:hidden}
.l i{display:inline-block;width:12px;height:3px;margin:0 5px 3px 0}.l span{margin-right:12px}
"""


def ask(base: str, path: str, **parameters: object) -> list[Any]:
    """The result of a query."""
    url = f"{base}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=30) as page:  # noqa: S310 - the URL is the caller's
        found: list[Any] = json.load(page)["data"]["result"]
    return found


def filled(expression: str) -> str:
    """An expression without Grafana's variables."""
    for name, value in (("$job", "manireports"), ("$company", ".*"), ("$provider", ".*")):
        expression = expression.replace(name, value)
    return expression.replace("$__rate_interval", "20s")


def shown(value: float, unit: str, digits: int | None = None) -> str:
    """A number as the panel's unit shows it."""
    if math.isnan(value):
        return "–"
    if unit == "percentunit":
        return f"{value * 100:.1f} %"
    if unit == "s":
        if value >= 120:
            return f"{value / 60:.0f} min"
        return (
            f"{value:.0f} s"
            if value >= 10
            else f"{value * 1000:.0f} ms"
            if value < 1
            else f"{value:.1f} s"
        )
    if unit == "bytes":
        return f"{value / 1e9:.0f} GB"
    if value >= 1e4:
        return f"{value / 1e3:.0f} k"
    return f"{value:.{digits if digits is not None else 0 if value == int(value) else 1}f}"


def ticks(most: float, unit: str) -> list[float]:
    """Round values from 0 up to the first that is not below ``most``: three to five of them."""
    size = {"percentunit": 0.01, "bytes": 1e9}.get(unit, 60.0 if unit == "s" and most >= 120 else 1)
    rough = most / size / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough * 0.999)
    return [round(step * part * size, 9) for part in range(math.ceil(most / size / step) + 1)]


def mark(value: float, unit: str) -> str:
    """A round value beside its line."""
    if unit == "percentunit" and value:
        return f"{value * 100:g} %"
    if unit == "s" and 1 <= value < 120:
        return f"{value:g} s"
    return shown(value, unit) if value and unit in {"s", "bytes"} else f"{value:g}"


def named(template: str, labels: dict[str, str]) -> str:
    """A series' name in the legend."""
    return re.sub(r"\{\{(\w+)\}\}", lambda m: labels.get(m[1], ""), template) or "value"


def series(
    base: str, panel: dict[str, Any], span: tuple[float, float]
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Every line of a panel."""
    step = max(1, (span[1] - span[0]) / STEPS)
    for target in panel["targets"]:
        for found in ask(
            base, "query_range", query=filled(target["expr"]), start=span[0], end=span[1], step=step
        ):
            points = [(float(t), float(v)) for t, v in found["values"] if v != "NaN"]
            yield named(target["legendFormat"], found["metric"]), points


def lines(
    panel: dict[str, Any],
    found: Sequence[tuple[str, list[tuple[float, float]]]],
    span: tuple[float, float],
    size: tuple[int, int],
) -> str:
    """A panel of lines, stacked where the panel says so."""
    width, height = size
    left, top, bottom = 56, 30, 46
    unit = panel["fieldConfig"]["defaults"]["unit"]
    stacked = panel["fieldConfig"]["defaults"]["custom"].get("stacking", {}).get("mode") == "normal"
    base: dict[float, float] = {}
    drawn: list[tuple[str, list[tuple[float, float, float]]]] = []
    for name, points in found:
        row = []
        for moment, value in points:
            low = base.get(moment, 0.0) if stacked else 0.0
            row.append((moment, low, low + value))
            if stacked:
                base[moment] = low + value
        drawn.append((name, row))
    most = max((high for _, row in drawn for _, _, high in row), default=0.0) or 1.0
    marks = ticks(most * 1.04, unit)
    most = marks[-1]

    def x(moment: float) -> float:
        return left + (moment - span[0]) / (span[1] - span[0]) * (width - left - 12)

    def y(value: float) -> float:
        return height - bottom - value / most * (height - bottom - top)

    colors = colors_of(panel, [name for name, _ in drawn])
    parts = []
    for value in marks:
        parts.append(
            f'<line x1="{left}" x2="{width - 12}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#2b2f36"/>'
        )
        parts.append(
            f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#8e8e9c" font-size="11">{mark(value, unit)}</text>'
        )
    for part in range(5):
        moment = span[0] + (span[1] - span[0]) * (part + 0.5) / 5
        label = time.strftime("%H:%M:%S", time.localtime(moment))
        parts.append(
            f'<text x="{x(moment):.0f}" y="{height - bottom + 15}" text-anchor="middle" fill="#8e8e9c" font-size="11">{label}</text>'
        )
    for number, (_, row) in enumerate(drawn):
        if row:
            color = colors[number]
            upper = " ".join(f"{x(m):.1f},{y(high):.1f}" for m, _, high in row)
            lower = " ".join(f"{x(m):.1f},{y(low):.1f}" for m, low, _ in reversed(row))
            parts.append(
                f'<polygon points="{upper} {lower}" fill="{color}" fill-opacity="{0.4 if stacked else 0.1}"/>'
            )
            parts.append(
                f'<polyline points="{upper}" fill="none" stroke="{color}" stroke-width="1.6"/>'
            )
    legend = "".join(
        f'<span><i style="background:{colors[n]}"></i>{html.escape(name)}</span>'
        for n, (name, _) in enumerate(drawn)
    )
    return f'<svg width="{width}" height="{height}" style="position:absolute;left:0;top:0">{"".join(parts)}</svg><div class="l">{legend or "no data"}</div>'


def colors_of(panel: dict[str, Any], names: Sequence[str]) -> list[str]:
    """The colour of each series: the panel's own where it sets one."""
    own = {
        each["matcher"]["options"]: FIXED[prop["value"]["fixedColor"]]
        for each in panel["fieldConfig"]["overrides"]
        for prop in each["properties"]
        if prop["id"] == "color"
    }
    return [own.get(name, COLORS[n % len(COLORS)]) for n, name in enumerate(names)]


def number(base: str, panel: dict[str, Any], end: float) -> str:
    """A panel of one number, on its colour."""
    found = ask(base, "query", query=filled(panel["targets"][0]["expr"]), time=end)
    value = float(found[0]["value"][1]) if found else math.nan
    defaults = panel["fieldConfig"]["defaults"]
    color = "green"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    text = shown(value, defaults["unit"], defaults.get("decimals"))
    for mapping in defaults["mappings"]:
        entry = mapping["options"].get(str(int(value)) if not math.isnan(value) else "")
        text = entry["text"] if entry else text
    return f'<div class="s" style="background:{NAMED[color]}">{html.escape(text)}</div>'


def table(base: str, panel: dict[str, Any], end: float) -> str:
    """A panel that is a table: one row a set of labels."""
    organize = panel["transformations"][1]["options"]
    rows: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for target in panel["targets"]:
        for found in ask(base, "query", query=filled(target["expr"]), time=end):
            labels = tuple(
                sorted(
                    (k, v) for k, v in found["metric"].items() if k not in organize["excludeByName"]
                )
            )
            key = "Value" if len(panel["targets"]) == 1 else f"Value #{target['refId']}"
            rows.setdefault(labels, {})[key] = float(found["value"][1])
    names = [n for n in organize["renameByName"] if n not in organize["excludeByName"]]
    head = "".join(f"<th>{html.escape(organize['renameByName'][name])}</th>" for name in names)
    body = []
    for labels, values in sorted(rows.items()):
        cells = []
        for name in names:
            unit = "s" if organize["renameByName"][name].endswith(" for") else "short"
            if not name.startswith("Value"):
                cells.append(dict(labels).get(name, ""))
                continue
            cells.append(shown(values[name], unit) if name in values else "")
            for mapping in panel["fieldConfig"]["defaults"]["mappings"]:
                entry = mapping["options"].get(cells[-1])
                cells[-1] = entry["text"] if entry else cells[-1]
        body.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"


def bars(base: str, panel: dict[str, Any], end: float) -> str:
    """A panel of bars."""
    target = panel["targets"][0]
    found = [
        (named(target["legendFormat"], f["metric"]), float(f["value"][1]))
        for f in ask(base, "query", query=filled(target["expr"]), time=end)
    ]
    most = max((value for _, value in found), default=1) or 1
    return (
        "<table>"
        + "".join(
            f'<tr><td>{html.escape(name)}</td><td style="width:55%"><div style="background:#299c46;height:14px;width:{100 * value / most:.0f}%"></div></td><td>{shown(value, "short")}</td></tr>'
            for name, value in found
        )
        + "</table>"
    )


def _inside(
    base: str, panel: dict[str, Any], span: tuple[float, float], size: tuple[int, int]
) -> str:
    match panel["type"]:
        case "timeseries":
            return lines(panel, list(series(base, panel, span)), span, size)
        case "stat":
            return number(base, panel, span[1])
        case "table":
            return table(base, panel, span[1])
        case "bargauge":
            return bars(base, panel, span[1])
    raise ValueError(f"a panel of an unknown type: {panel['type']}")


def main(base: str, file: str, minutes: str) -> None:
    """Print the page."""
    dashboard = json.loads(Path(file).read_text("utf-8"))
    span = (time.time() - 60 * float(minutes), time.time())
    parts, lowest = [], 0
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        place = f"left:{grid['x'] * CELL + 2}px;top:{grid['y'] * LINE}px;"
        width, height = grid["w"] * CELL - 6, grid["h"] * LINE - 6
        lowest = max(lowest, (grid["y"] + grid["h"]) * LINE)
        if panel["type"] == "row":
            parts.append(f'<div class="r" style="{place}">⌄ {html.escape(panel["title"])}</div>')
            continue
        inside = _inside(base, panel, span, (width, height))
        parts.append(
            f'<div class="p" style="{place}width:{width}px;height:{height}px"><b>{html.escape(panel["title"])}</b>{inside}</div>'
        )
    sys.stdout.write(
        f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style><h1>{html.escape(dashboard["title"])}</h1>'
        f'<div id="g" style="height:{lowest + 20}px">{"".join(parts)}</div>'
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
