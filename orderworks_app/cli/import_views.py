"""How imports are shown to people: a list, one import, its way, and what a dry run found."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn

from orderworks.imports.progress import COUNTS, Summary
from orderworks_app.operations.timespans import format_span
from orderworks_app.terminal import console, escaped, print_sentence, table

DRY_RUN_COUNTS = ("insert", "change", "unchanged", "stale", "superseded", "rejected")


def print_list(summaries: Sequence[Summary]) -> None:
    """A line for each import."""
    lines = table("id", "kind", "source", "status", "rows", *COUNTS, right=("rows", *COUNTS))
    for each in summaries:
        counts = [f"{each[name]:,}" for name in ("rows", *COUNTS)]
        lines.add_row(each["id"], each["kind"], escaped(each["source"]), each["status"], *counts)
    console.print(lines)


def print_summary(summary: Summary) -> None:
    """What became of an import, or how far it is; of a dry run, what would become of it."""
    if summary.get("would"):
        _print_dry_run(summary)
        return
    counts = ", ".join(f"{summary[name]:,} {name}" for name in COUNTS if summary[name])
    print_sentence(
        f"Import {summary['id']} of {escaped(summary['source'])}: {summary['status']}, "
        f"{summary['rows'] or 0:,} rows: {counts or 'nothing done'}."
    )
    if summary["status"] in ("running", "paused"):
        print_sentence(f"So far {progress_line(summary)}.")
    if summary["error"]:
        print_sentence(f"[red]{escaped(summary['error'])}[/]")
    _print_next_step(summary)


def would_exceed_rejects(summary: Summary) -> bool:
    """Whether the import of a dry run would have more rejects than it may have."""
    would, most = summary.get("would"), summary.get("max_rejects")
    if not would or most is None:
        return False
    return bool(would["rejected"] > most)


def _print_next_step(summary: Summary) -> None:
    """Say what can be done about it."""
    if summary["mended"]:
        print_sentence(f"{summary['mended']:,} of the rejected rows came again, mended.")
    if summary["rejected"] > summary["mended"]:
        print_sentence(f"See why with `orderworks rejects {summary['id']}`.")
    if summary["quarantined"]:
        print_sentence(
            f"{summary['quarantined']:,} of {summary['chunks']:,} chunks were given up; "
            f"`orderworks retry {summary['id']}` starts them again."
        )


def progress_line(summary: Summary) -> str:
    """How far an import is: rows, bytes, chunks, how fast, and how long it will take."""
    done = sum(summary[name] for name in COUNTS)
    rows = "?" if summary["rows"] is None else f"{summary['rows']:,}"
    ended = summary["chunks_done"] + summary["quarantined"]
    parts = [
        f"{done:,} of {rows} rows",
        f"{_megabytes(summary['bytes_done'])} of {_megabytes(summary['bytes'])} MB",
        f"{ended:,} of {summary['chunks']:,} chunks",
    ]
    if summary["rows_per_second"] is not None:
        parts.append(f"{summary['rows_per_second']:,.0f} rows/s")
    if summary["eta_seconds"] is not None:
        parts.append(f"{format_span(summary['eta_seconds'])} left")
    return ", ".join(parts)


@contextmanager
def progress_bar() -> Iterator[Callable[[Summary], None]]:
    """A bar that moves with every summary that is given to the function."""
    columns = (
        TextColumn("import {task.fields[id]} {task.fields[status]}"),
        BarColumn(),
        TextColumn("{task.fields[way]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("import", total=None, id="", status="", way="")

        def show(summary: Summary) -> None:
            fields = {
                "id": summary["id"],
                "status": summary["status"],
                "way": progress_line(summary),
            }
            done, total = summary["bytes_done"], summary["bytes"]
            progress.update(bar, completed=done, total=total, **fields)

        yield show


def _print_dry_run(summary: Summary) -> None:
    would = summary["would"]
    counts = ", ".join(f"{would[name]:,} {name}" for name in DRY_RUN_COUNTS if would[name])
    print_sentence(
        f"Dry run of {escaped(summary['source'])}, nothing was changed. "
        f"It has {summary['rows']:,} rows: {counts or 'none'}."
    )
    print_sentence(f"Customers whose cached reads would be dropped: {would['customers']:,}.")
    print_sentence(f"Reports that would change: {', '.join(would['reports']) or 'none'}.")
    print_sentence(f"The import would take about {format_span(would['seconds'])}.")
    if summary["strict"] and would["rejected"]:
        print_sentence("Nothing would be imported: the import is strict.")
    if would_exceed_rejects(summary):
        print_sentence(
            f"The import would stop: more than {summary['max_rejects']:,} rows would be rejected."
        )
    _print_rows("The first differences:", would["differences"])
    _print_rows("The first rejected rows:", would["rejects"])


def _print_rows(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Rows of a kind as a table; nothing where there are none."""
    if not rows:
        return
    print_sentence(title)
    lines = table(*rows[0])
    for row in rows:
        lines.add_row(*("" if cell is None else escaped(str(cell)) for cell in row.values()))
    console.print(lines)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f}"
