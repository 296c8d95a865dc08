"""`orderworks import`, `imports` and `rejects`: files of orders and customers."""

import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Annotated, BinaryIO

import msgspec
import typer

from orderworks.core.errors import InvalidInput, Unavailable
from orderworks.imports.columns import parse_mapping
from orderworks.imports.ledger import list_imports
from orderworks.imports.progress import ENDED, Summary
from orderworks.imports.rejects import RejectedRow, as_csv, iter_rejects, iter_uncorrected
from orderworks_app.cli.failures import FAILED
from orderworks_app.cli.import_views import (
    print_list,
    print_summary,
    progress_bar,
    would_exceed_rejects,
    would_reject_all,
)
from orderworks_app.cli.options import AsJson
from orderworks_app.operations.imports import FileKind, Format, Imports
from orderworks_app.operations.timespans import parse_moment
from orderworks_app.terminal import print_json, print_sentence
from producer import ImportJob, Producer
from producer.imports.options import select_options

POLL_INTERVAL = 0.5
"""Seconds between two reads of the ledger."""

PAGE_SIZE = 50
"""Maximum number of imports in the list."""


def import_file(  # noqa: PLR0913 - each parameter is an option of the command
    file: Annotated[
        str,
        typer.Argument(
            help="CSV with a header line, JSON Lines or Parquet, uncompressed or compressed by gzip "
            "or zstd; - reads standard input."
        ),
    ],
    *,
    kind: Annotated[
        FileKind | None,
        typer.Option(help="Kind of the rows. Default: that of --preset or --parent, or orders."),
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="TARGET=COLUMN",
            help="Name of a column in the file, where it differs. May be given several times.",
        ),
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Delimiter of CSV; detected by default.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Table of the file IMPORT_PRESETS with values for options not given."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Report what the import would do, and change nothing."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Apply all rows, or none if one is rejected.")
    ] = False,
    max_rejects: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|SHARE",
            help="Stop after more rejected rows than this, a number or a share such as 10%; rows "
            "already applied stay.",
        ),
    ] = None,
    create_customers: Annotated[
        bool,
        typer.Option(
            "--create-customers",
            help="Create customers that orders refer to and that do not exist, with the names in the "
            "file's column customer_name, if it has one.",
        ),
    ] = False,
    parent: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The import whose rejected rows this file has, corrected, in the format of "
            "`orderworks rejects ID --format csv`. Default of kind, mapping and --create-customers: "
            "those of that import.",
        ),
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_moment,
            metavar="TIME",
            help="When the content was made: 2026-11-29T02:00Z, or 2h ago. What was written since is "
            "newer than rows without a version. Default: the file is newer than all before it.",
        ),
    ] = None,
    empty: Annotated[
        str,
        typer.Option(
            metavar="keeps|clears",
            help="What an empty cell of CSV does to a customer's e-mail or phone.",
        ),
    ] = "keeps",
    again: Annotated[
        bool,
        typer.Option("--again", help="Import the file although its content was imported before."),
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show the progress until the import has ended.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Import a file of orders or customers: the workers load it in bulk.

    Orders need the columns id, customer_id and total; status, created_at, updated_at and version are
    optional. Customers need id and name; email, phone and version are optional. Valid rows are applied;
    invalid ones are kept with line, column and reason: see `orderworks rejects`.

    Names of columns match also if they differ by case, spaces, _ and -. Columns that are ignored are
    listed at the end.

    Exit status: 0 done, or accepted; 1 the import failed: every row was rejected, or one under --strict
    (known with --follow or --dry-run), or more than --max-rejects would be (known with --dry-run); 2
    the file or an option is invalid.
    """
    mapping = parse_mapping(map_) if map_ else None
    options = msgspec.structs.asdict(select_options(locals()))
    if parent and not (kind and mapping):
        with Imports.from_environment() as store:
            store.republish_parent(parent)
    with Producer.from_settings() as producer:
        job = producer.import_file(_standard_input() if file == "-" else file, **options)
        if job.repeated and not as_json:
            print_sentence(
                f"This content was imported before, as {job.id}; --again imports it again."
            )
        if follow or dry_run:
            _print_end(_wait_for(job, as_json), job, as_json)
        else:
            _print_accepted(job, as_json)


def imports(
    import_id: Annotated[
        str | None, typer.Argument(help="Id of an import; default: list all.")
    ] = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show the progress of one import until it has ended.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the newest 50 imports, newest first, or show one: its status, and its rows by result.

    A running import also has: rows, bytes and chunks done, rows per second, the time left, and whether
    it waits for order updates to be applied first.

    Exit status: with --follow that of `orderworks import --follow`.
    """
    if import_id is None and follow:
        raise InvalidInput("--follow needs the id of an import")
    with Imports.from_environment() as store:
        if import_id is None:
            _list(store, as_json)
            return
        if follow:
            _follow(store, import_id, as_json)
        summary = store.find_with_wait_state(import_id)
        _show(summary, as_json)
        if follow:
            _exit_with_status(summary)


def rejects(
    import_id: Annotated[str, typer.Argument(help="The import.")],
    *,
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="csv: the file's columns and the reasons, to be corrected and imported with "
            "--parent; jsonl: one object per line.",
        ),
    ] = Format.CSV,
    all_: Annotated[
        bool, typer.Option("--all", help="Include rows that were corrected and imported since.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the rejected rows of an import: line, column, code, reason and the raw text.

    To correct them: `orderworks rejects ID > bad.csv`, correct the cells in bad.csv and leave the column
    line as it is, then `orderworks import bad.csv --parent ID`. A cell that begins like a formula has
    a ' before it, because of spreadsheets; the import removes it.
    """
    with Imports.from_environment() as store:
        file_format = store.file_format(import_id)
        with store.ledger.connect() as connection:
            rows = (iter_rejects if all_ else iter_uncorrected)(connection, import_id)
            if as_json:
                print_json([row._asdict() for row in rows])
            elif format_ is Format.JSONL:
                sys.stdout.writelines(_json_lines(rows))
            else:
                sys.stdout.writelines(as_csv(rows, file_format))


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise InvalidInput("standard input is closed")
    if not sys.stdin.isatty():
        return sys.stdin.buffer
    sys.stderr.write("orderworks: reading the file from standard input; end it with Ctrl-D\n")
    # A buffered file would continue to read after the first Ctrl-D.
    return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)


def _list(store: Imports, as_json: bool) -> None:  # noqa: FBT001 - the output format
    with store.ledger.connect() as connection:
        summaries = list_imports(connection, PAGE_SIZE + 1)
    shown = summaries[:PAGE_SIZE]
    print_json(shown) if as_json else print_list(shown)
    if len(summaries) > PAGE_SIZE:
        sys.stderr.write(f"orderworks: only the newest {PAGE_SIZE} imports are shown\n")


def _wait_for(job: ImportJob, as_json: bool) -> Summary:  # noqa: FBT001 - the output format
    if as_json:
        return job.wait()
    with progress_bar() as show:
        return job.wait(on_progress=show)


def _print_end(summary: Summary, job: ImportJob, as_json: bool) -> None:  # noqa: FBT001
    """Print the last summary of an import, and exit with its status."""
    if as_json:
        print_json({**summary, "repeated": job.repeated})
    else:
        print_summary(summary)
    _exit_with_status(summary)


def _exit_with_status(summary: Summary) -> None:
    """Exit with 1 unless the import is done and within the limits of its options."""
    rejected = (summary.get("would") or summary)["rejected"]
    refused = (summary["strict"] and rejected) or would_reject_all(summary)
    if summary["status"] != "done" or refused or would_exceed_rejects(summary):
        raise typer.Exit(FAILED)


def _print_accepted(job: ImportJob, as_json: bool) -> None:  # noqa: FBT001
    if as_json:
        summary: Summary = {"id": job.id, "status": "accepted"}
        # It is accepted even if its progress cannot be read.
        with suppress(Unavailable):
            summary = job.progress() or summary
        print_json({**summary, "repeated": job.repeated})
    elif not job.repeated:
        print_sentence(
            f"Accepted as import {job.id}. Follow it with `orderworks imports {job.id} --follow`."
        )


def _show(summary: Summary, as_json: bool) -> None:  # noqa: FBT001
    if as_json:
        print_json(summary)
        return
    print_summary(summary)
    if summary["waits_for_updates"]:
        print_sentence("It waits until the pending order updates are applied.")


def _follow(store: Imports, import_id: str, as_json: bool) -> None:  # noqa: FBT001
    """Show the progress of an import until it has ended."""
    if as_json:
        _poll(store, import_id, lambda _summary: None)
        return
    with progress_bar() as show:
        _poll(store, import_id, show)


def _poll(store: Imports, import_id: str, show: Callable[[Summary], None]) -> None:
    while True:
        summary = store.find(import_id)
        show(summary)
        if summary["status"] in ENDED:
            return
        time.sleep(POLL_INTERVAL)


def _json_lines(rejected: Iterable[RejectedRow]) -> Iterable[str]:
    return (msgspec.json.encode(row._asdict()).decode() + "\n" for row in rejected)
