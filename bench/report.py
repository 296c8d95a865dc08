"""What a benchmark found: a table for people, and a JSON document with the machine it belongs to.

Absolute figures belong to one machine; the ratio of two sides measured in one run travels.
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

from bench.copying import version_of
from bench.sides import NotRun, Result
from orderworks.cli.output import console, table
from orderworks.embedded.binaries import postgresql_binaries


class Peak(msgspec.Struct, frozen=True):
    """The most memory that a process had, in bytes, in an import of so many rows."""

    process: str
    rows: int
    peak: int


class Figures(msgspec.Struct, frozen=True):
    """What one benchmark found, and what a reader has to know about the run."""

    benchmark: str
    results: Sequence[Result | NotRun | Peak]
    notes: list[str]


def publish(figures: Figures, file: Path | None) -> None:
    """Print the table; write the document, if a file is named for it."""
    console.print(_table(figures))
    for each in figures.results:
        if isinstance(each, NotRun):
            console.print(Text(f"{each.name} was not run: {each.reason}"))
    for note in figures.notes:
        console.print(Text(note, style="dim"))
    if file:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(document(figures))) + b"\n")


def document(figures: Figures) -> dict[str, object]:
    """The figures with every round's seconds, and where and when they were measured."""
    return {
        "benchmark": figures.benchmark,
        "at": datetime.now(UTC),
        "machine": machine(),
        "notes": figures.notes,
        "results": figures.results,
    }


def machine() -> dict[str, object]:
    """Processors, memory, and what runs on them."""
    return {
        "cpu": cpu_model(Path("/proc/cpuinfo")),
        "cpus": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "system": platform.platform(),
        "python": platform.python_version(),
        "postgresql": version_of(str(postgresql_binaries(None) / "postgres")),
    }


def cpu_model(cpuinfo: Path) -> str:
    """The processor's name; its architecture, where the system does not tell more."""
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()


def _table(figures: Figures) -> Table:
    sides = [result for result in figures.results if not isinstance(result, Peak)]
    peaks = [result for result in figures.results if isinstance(result, Peak)]
    return _table_of_peaks(peaks) if peaks else _table_of_results(sides)


def _table_of_results(results: Sequence[Result | NotRun]) -> Table:
    right = ("count", "median s", "a second", "ratio")
    lines = table("what", *right, right=right)
    for result in results:
        if isinstance(result, NotRun):
            lines.add_row(Text(result.name), Text("not run"))
            continue
        seconds, rate = f"{result.seconds:.2f}", f"{result.rate:,.0f}"
        ratio = f"{result.ratio:.2f}"
        lines.add_row(Text(result.name), f"{result.count:,}", seconds, rate, ratio)
    return lines


def _table_of_peaks(peaks: Sequence[Peak]) -> Table:
    right = ("rows", "peak MiB")
    lines = table("process", *right, right=right)
    for peak in sorted(peaks, key=lambda peak: (peak.process, peak.rows)):
        lines.add_row(peak.process, f"{peak.rows:,}", f"{peak.peak / (1 << 20):,.0f}")
    return lines
