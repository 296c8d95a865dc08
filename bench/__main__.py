"""`python -m bench`: run the benchmarks, print a table, and write the figures as JSON.

Absolute figures belong to one machine; the ratio of two sides measured in one run travels.
"""

import argparse
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench import imports, updates
from bench.sides import Result

BENCHMARKS: dict[str, Callable[[int, int], list[Result]]] = {
    "imports": imports.run,
    "updates": updates.run,
}


def main() -> None:
    """Run what the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all")
    parser.add_argument("--rows", type=int, default=300_000, help="rows, or updates (300000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; medians count (5)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}")
    chosen = arguments.names or list(BENCHMARKS)
    results = [
        result for name in chosen for result in BENCHMARKS[name](arguments.rows, arguments.rounds)
    ]
    show(results)
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(document(results))))


def show(results: list[Result]) -> None:
    """The results as a table."""
    table = Table(box=None, header_style="bold")
    for column in ("what", "median s", "a second", "ratio"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for result in results:
        table.add_row(
            result.name, f"{result.seconds:.2f}", f"{result.rate:,.0f}", f"{result.ratio:.2f}"
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)


def document(results: list[Result]) -> dict[str, object]:
    """The results with the machine that they belong to."""
    return {
        "at": datetime.now(UTC),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.processor() or platform.system()}",
        "results": results,
    }


main()
