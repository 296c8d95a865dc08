"""The report of a benchmark: a printed table, and a JSON document that includes the machine.

Absolute figures hold for one machine; the ratio of two sides of one run is comparable with others.
"""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
from rich.table import Table
from rich.text import Text

from bench.alternate import NotRun, Result
from bench.figures import Figures, Latency, Peak, QueryCount
from bench.psql_copy import version_of
from orderworks_app.embedded.binaries import postgresql_binaries
from orderworks_app.terminal import console, table


def publish(figures: Figures, file: Path | None, picture: Path | None = None) -> None:
    """Print the table; write the document and draw the plot if files are named for them."""
    console.print(_table(figures))
    if query_counts := [each for each in figures.results if isinstance(each, QueryCount)]:
        console.print(_table_of_query_counts(query_counts))
    for each in figures.results:
        if isinstance(each, NotRun):
            console.print(Text(f"{each.name} was not run: {each.reason}"))
    for note in figures.notes:
        console.print(Text(note, style="dim"))
    if file:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(document(figures))) + b"\n")
    if picture:
        from bench.plot import draw  # noqa: PLC0415 - loads matplotlib

        draw(figures, picture)


def document(figures: Figures) -> dict[str, object]:
    """Return the figures with every round's seconds, the machine and the time."""
    return {
        "benchmark": figures.benchmark,
        "at": datetime.now(UTC),
        "machine": machine(),
        "notes": figures.notes,
        "results": figures.results,
    }


def machine() -> dict[str, object]:
    """Return processors, memory, system and releases."""
    return {
        "cpu": cpu_model(Path("/proc/cpuinfo")),
        "cpus": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "system": platform.platform(),
        "python": platform.python_version(),
        "postgresql": version_of(str(postgresql_binaries(None) / "postgres")),
    }


def cpu_model(cpuinfo: Path) -> str:
    """Return the processor's name; its architecture if the system does not report the name."""
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()


def _table(figures: Figures) -> Table:
    """Return the table for the kind of results that the benchmark has."""
    peaks = [each for each in figures.results if isinstance(each, Peak)]
    latencies = [each for each in figures.results if isinstance(each, Latency)]
    results = [each for each in figures.results if isinstance(each, Result)]
    if peaks:
        return _table_of_peaks(peaks)
    return _table_of_latencies(latencies) if latencies else _table_of_results(results)


def _table_of_results(results: Sequence[Result]) -> Table:
    right = ("count", "median s", "a second", "ratio")
    lines = table("what", *right, right=right)
    for result in results:
        seconds, rate = f"{result.seconds:.2f}", f"{result.rate:,.0f}"
        ratio = f"{result.ratio:.2f}"
        lines.add_row(Text(result.name), f"{result.count:,}", seconds, rate, ratio)
    return lines


def _table_of_latencies(latencies: Sequence[Latency]) -> Table:
    right = ("updates/s", "p50 ms", "p99 ms", "reached/s")
    lines = table("what", *right, right=right)
    for each in latencies:
        percentiles = (f"{each.p50:.1f}", f"{each.p99:.1f}") if each.kept_up else ("fell", "behind")
        lines.add_row(Text(each.name), f"{each.rate:,}", *percentiles, f"{each.reached:,.0f}")
    return lines


def _table_of_query_counts(query_counts: Sequence[QueryCount]) -> Table:
    right = ("reads", "queries")
    lines = table("what", *right, right=right)
    for each in query_counts:
        lines.add_row(Text(each.name), f"{each.reads:,}", f"{each.queries:,}")
    return lines


def _table_of_peaks(peaks: Sequence[Peak]) -> Table:
    right = ("rows", "peak MiB")
    lines = table("process", *right, right=right)
    for peak in sorted(peaks, key=lambda peak: (peak.process, peak.rows)):
        lines.add_row(peak.process, f"{peak.rows:,}", f"{peak.peak / (1 << 20):,.0f}")
    return lines
