"""Views of imports in the terminal: a list, one import, its progress, and the report of a dry run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.table import Column as RichColumn

from orderworks.imports.progress import COUNTS, Summary
from orderworks_app.operations.timespans import format_span
from orderworks_app.terminal import Column, console, escaped, print_sentence, print_table

LEAST_WANTED = ("superseded", "stale", "unchanged", "kind", "source", "applied")
"""Columns of the list that a narrow terminal omits first."""

FULL_WIDTH = 150
"""Characters of a terminal in which the progress of an import has room for a bar."""

LEAST_SECONDS = 1.0
"""Seconds of loading from which on a rate is shown."""

LEAST_MEGABYTES = 1.0
"""Size of a file from which on it is shown in MB."""

DRY_RUN_COUNTS = ("insert", "change", "unchanged", "stale", "superseded", "rejected")


def print_list(summaries: Sequence[Summary]) -> None:
    """Print a line for each import."""
    columns = (
        *(Column("id"), Column("kind"), Column("source", least=16), Column("status")),
        *(Column(name, right=True) for name in ("rows", *COUNTS)),
    )
    rows = [
        (
            *(each["id"], each["kind"], escaped(each["source"]), each["status"]),
            *(f"{each[name]:,}" for name in ("rows", *COUNTS)),
        )
        for each in summaries
    ]
    print_table(columns, rows, LEAST_WANTED)


def print_summary(summary: Summary) -> None:
    """Print the results of an import, or its progress; of a dry run, the results it would have."""
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
    _print_columns_and_notes(summary)
    _print_next_step(summary)


def would_exceed_rejects(summary: Summary) -> bool:
    """Return whether the import of a dry run would exceed its `max_rejects`."""
    would, limit = summary.get("would"), summary.get("max_rejects")
    if not would or limit is None:
        return False
    return bool(would["rejected"] > limit)


def would_reject_all(summary: Summary) -> bool:
    """Return whether the import of a dry run would reject every row."""
    would = summary.get("would")
    return bool(would and 0 < would["rejected"] == summary["rows"])


def _print_columns_and_notes(summary: Summary) -> None:
    """Print what the import ignores, and what is unusual in the file."""
    if summary.get("ignored_columns"):
        print_sentence(f"Ignored columns: {escaped(', '.join(summary['ignored_columns']))}.")
    for note in summary.get("notes", ()):
        print_sentence(f"Note: {escaped(note)}.")


def _print_next_step(summary: Summary) -> None:
    """Print which commands help with its rejects and its quarantined chunks."""
    if summary["mended"]:
        print_sentence(f"{summary['mended']:,} of the rejected rows were corrected and imported.")
    if summary["rejected"] > summary["mended"]:
        print_sentence(f"`orderworks rejects {summary['id']}` shows the reasons.")
    if summary["quarantined"]:
        print_sentence(
            f"{summary['quarantined']:,} of {summary['chunks']:,} chunks are quarantined; "
            f"`orderworks retry {summary['id']}` starts them again."
        )


def progress_line(summary: Summary) -> str:
    """Return the progress of an import: rows, bytes, chunks, speed and time left."""
    done = sum(summary[name] for name in COUNTS)
    rows = "?" if summary["rows"] is None else f"{summary['rows']:,}"
    ended = summary["chunks_done"] + summary["quarantined"]
    parts = [
        f"{done:,} of {rows} rows",
        _sizes(summary["bytes_done"], summary["bytes"]),
        f"{ended:,} of {summary['chunks']:,} chunks",
    ]
    if _is_rate_known(summary, done):
        parts.append(f"{summary['rows_per_second']:,.0f} rows/s")
    if summary["eta_seconds"] is not None:
        parts.append(f"{format_span(summary['eta_seconds'])} left")
    return ", ".join(parts)


@contextmanager
def progress_bar() -> Iterator[Callable[[Summary], None]]:
    """A progress bar; the function that is yielded updates it with a summary."""
    columns: tuple[ProgressColumn, ...] = (
        TextColumn("import {task.fields[id]} {task.fields[status]}"),
        BarColumn(),
        TextColumn("{task.fields[progress]}", table_column=RichColumn(overflow="fold")),
    )
    if console.width < FULL_WIDTH:  # An id that is cut could not be copied.
        columns = (
            TextColumn(
                "import {task.fields[id]} {task.fields[status]}: {task.fields[progress]}",
                table_column=RichColumn(overflow="fold"),
            ),
        )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("import", total=None, id="", status="", progress="")

        def show(summary: Summary) -> None:
            fields = {
                "id": summary["id"],
                "status": summary["status"],
                "progress": progress_line(summary),
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
    _print_changed_since(summary["kind"], would)
    print_sentence(f"Customers whose cached reads would be invalidated: {would['customers']:,}.")
    print_sentence(f"Reports that would change: {', '.join(would['reports']) or 'none'}.")
    print_sentence(f"The import would take about {format_span(would['seconds'])}.")
    if summary["strict"] and would["rejected"]:
        print_sentence("Nothing would be imported: the import is strict.")
    elif would_reject_all(summary):
        print_sentence("Nothing would be imported: every row would be rejected.")
    if would_exceed_rejects(summary):
        print_sentence(
            f"The import would stop: more than {summary['max_rejects']:,} rows would be rejected."
        )
    _print_columns_and_notes(summary)
    _print_rows("First differences:", would["differences"])
    _print_rows("First rejected rows:", would["rejects"])


def _print_changed_since(kind: str, would: dict[str, Any]) -> None:
    """Print how many rows of the table are newer than the file, if there is one."""
    # Workers of an older version do not count them.
    count = would.get("changed_since")
    if not count:
        return
    at = datetime.fromisoformat(would["as_of"] or would["modified_at"])
    since = f"{count:,} of its {kind} were changed since"
    if would["as_of"]:
        print_sentence(f"{since} {at:%Y-%m-%d %H:%M} UTC; their newer values stay.")
        return
    print_sentence(
        f"The file is from {at:%Y-%m-%d %H:%M} UTC; {since}. "
        f"Their newer values stay with --as-of {at:%Y-%m-%dT%H:%M:%SZ}."
    )


def _print_rows(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a table, with a title, if there are any."""
    if not rows:
        return
    print_sentence(title)
    columns = [Column(name, least=0 if _are_numbers(rows, name) else 12) for name in rows[0]]
    print_table(columns, [[_shown(cell) for cell in row.values()] for row in rows])


def _are_numbers(rows: Sequence[dict[str, Any]], name: str) -> bool:
    return all(row[name] is None or isinstance(row[name], int | float) for row in rows)


def _shown(cell: object) -> str:
    return "" if cell is None else escaped(str(cell))


def _is_rate_known(summary: Summary, done: int) -> bool:
    """Return whether rows were loaded for a second: a rate over less is a guess."""
    rate = summary["rows_per_second"]
    return bool(rate) and summary["status"] != "failed" and done / rate >= LEAST_SECONDS


def _sizes(done: int, total: int) -> str:
    """Return the bytes done and all bytes, in MB; in kB where MB would be 0.0."""
    unit, size = ("MB", 1e6) if total >= LEAST_MEGABYTES * 1e6 else ("kB", 1e3)
    return f"{done / size:,.1f} of {total / size:,.1f} {unit}"
