"""What a benchmark found, as a picture: SVG or PNG, by the file's name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.alternate import Result
from bench.figures import Figures, Latency

WIDTH, ROW = 8.0, 0.4
"""Inches, of the picture and of a bar with its margin."""


def draw(figures: Figures, file: Path) -> None:
    """Write the picture: bars of rates, or latencies over the rate."""
    # Loaded here alone: it takes a second, and only a picture needs it.
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
    """A bar a side, the first one on top; the scale is logarithmic, the figure stands beside."""
    bars = axes.barh([each.name for each in results], [each.rate for each in results])
    axes.bar_label(bars, labels=[f"{each.rate:,.0f}" for each in results], padding=4)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("a second, logarithmic")


def _draw_latencies(axes: Any, latencies: Sequence[Latency]) -> None:  # noqa: ANN401 - likewise
    """For each side a line of p50 and one of p99; where it fell behind there is no point."""
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
