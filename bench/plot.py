"""A plot of a benchmark's results: SVG or PNG, by the file's name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.alternate import Result
from bench.figures import Figures, Latency

WIDTH, ROW = 8.0, 0.4
"""Inches: the width of the plot, and the height of a bar with its margin."""


def draw(figures: Figures, file: Path) -> None:
    """Write the plot: bars of rates, or latencies over the rate."""
    # Imported only here: it takes a second.
    from matplotlib.figure import Figure  # noqa: PLC0415

    results = [each for each in figures.results if isinstance(each, Result)]
    latencies = [each for each in figures.results if isinstance(each, Latency)]
    picture = Figure(figsize=(WIDTH, 4.5 if latencies else 1.2 + ROW * len(results)))
    axes: Any = picture.subplots()
    if latencies:
        _draw_latencies(axes, latencies)
    else:
        _draw_rates(axes, results)
    axes.set_title(f"orderworks bench {figures.benchmark}", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    picture.savefig(file, bbox_inches="tight", dpi=150)


def _draw_rates(axes: Any, results: Sequence[Result]) -> None:  # noqa: ANN401 - matplotlib's
    """Draw one bar per side, the first one on top, on a logarithmic scale, labelled with the rate."""
    bars = axes.barh([each.name for each in results], [each.rate for each in results])
    axes.bar_label(bars, labels=[f"{each.rate:,.0f}" for each in results], padding=4)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("a second, logarithmic")


def _draw_latencies(axes: Any, latencies: Sequence[Latency]) -> None:  # noqa: ANN401 - likewise
    """Draw for each side a line of p50 and one of p99, without points where it fell behind."""
    for number, name in enumerate(dict.fromkeys(each.name for each in latencies)):
        kept_up = [each for each in latencies if each.name == name and each.kept_up]
        rates = [each.rate for each in kept_up]
        color = f"C{number}"
        axes.plot(rates, [e.p50 for e in kept_up], "o-", color=color, label=f"{name}, p50")
        axes.plot(rates, [e.p99 for e in kept_up], "o--", color=color, label=f"{name}, p99")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("updates a second")
    axes.set_ylabel("ms from enqueue to commit")
    axes.legend(frameon=False)
