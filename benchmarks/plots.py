"""Plots of what the benchmarks found, as SVG."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE: Any = {
    "svg.hashsalt": "manireports",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
OURS, OTHERS = "#1f6fb2", "#b8bec6"


def draw(found: Mapping[str, Any], folder: Path) -> Iterator[Path]:
    """Write a file for each plot whose benchmark is among ``found``."""
    with mpl.rc_context(STYLE):
        for name, plot in PLOTS.items():
            if name in found:
                path = folder / f"performance-{name}.svg"
                figure = plot(found[name])
                figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
                yield path


def smtp(found: Mapping[str, Any]) -> Figure:
    """Mails a second of each way, by the time that the server takes to answer."""
    by_latency = found["mails_per_second"]
    figure = Figure(figsize=(9, 2.6 * len(by_latency) / 2))
    for number, (latency, ways) in enumerate(by_latency.items(), 1):
        axes = figure.add_subplot((len(by_latency) + 1) // 2, 2, number)
        names = list(reversed(ways))
        rates = [ways[name]["rate"] for name in names]
        colors = [OURS if name == "sidecar" else OTHERS for name in names]
        bars = axes.barh(names, rates, color=colors)
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
        axes.set_xscale("log")
        axes.set_title(f"mails a second, answers after {latency}", fontsize=9)
        axes.tick_params(labelsize=8)
    figure.tight_layout()
    return figure


def growth(found: Mapping[str, Mapping[str, float]]) -> Figure:
    """Seconds against work, beside what is proportional."""
    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    for name, by_size in found.items():
        axes.plot([int(size) for size in by_size], list(by_size.values()), "o-", label=name)
    most = max(int(size) for by_size in found.values() for size in by_size)
    axes.plot([most / 100, most], [most / 1e5, most / 1e3], ":", color=OTHERS, label="proportional")
    _named(axes, "mails", "seconds")
    axes.set_yscale("log")
    return figure


def latency(found: Mapping[str, list[float]]) -> Figure:
    """Which share of mails has gone out after so many seconds."""
    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    for name, waits in found.items():
        axes.ecdf(waits, label=name)
    axes.axvline(5, linestyle=":", color=OTHERS, label="goal for 99 %")
    _named(axes, "seconds from a visible row to a mail that is taken", "share of mails")
    axes.set_xscale("linear")
    axes.set_xlim(left=0)
    return figure


def backlog(found: Mapping[str, Any]) -> Figure:
    """Milliseconds of a look, against the rows that wait or were sent."""
    figure = Figure(figsize=(6, 4))
    axes = figure.add_subplot()
    looks = found["look_ms"]
    for name in ("waiting", "sent"):
        points = [(int(size), each[name]) for size, each in looks.items()]
        axes.plot(*zip(*points, strict=True), "o-", label=f"rows that are {name}")
    _named(axes, "rows in the queue", "milliseconds of a look")
    axes.set_ylim(bottom=0)
    return figure


def _named(axes: Axes, x: str, y: str) -> None:
    axes.set_xscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False, fontsize=8)


PLOTS = {"smtp": smtp, "growth": growth, "latency": latency, "backlog": backlog}
