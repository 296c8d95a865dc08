"""`orderworks import`, `imports` and `rejects`: files of orders and customers."""

import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
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
)
from orderworks_app.cli.options import AsJson
from orderworks_app.operations.imports import FileKind, Format, Imports
from orderworks_app.terminal import print_json, print_sentence
from producer import ImportJob, Producer
from producer.imports.options import select_options

POLL_INTERVAL = 0.5
"""Seconds between two looks at the ledger."""

PAGE_SIZE = 50
"""Imports that the list has at the most."""


def import_file(  # noqa: PLR0913 - all that can be said of a file
    file: Annotated[
        str,
        typer.Argument(
            help="CSV with a header line, JSON Lines or Parquet, plain or packed by gzip or zstd; "
            "- reads it from standard input."
        ),
    ],
    *,
    kind: Annotated[
        FileKind | None,
        typer.Option(help="What the file holds: orders, unless --preset or --parent say else."),
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="TARGET=COLUMN",
            help="For a file that names its columns otherwise. May be given several times.",
        ),
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="What parts the fields of CSV; found out if not given.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A table of the file IMPORT_PRESETS; it says what is not given here."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Wait, say what would be, and change nothing."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Import all rows, or none if one is rejected.")
    ] = False,
    max_rejects: Annotated[
        int | None,
        typer.Option(help="Stop when more rows than this are rejected; what is loaded stays."),
    ] = None,
    create_customers: Annotated[
        bool,
        typer.Option(
            "--create-customers",
            help="Make customers that orders name and nobody knows, with the names in the file's "
            "column customer_name, if it has one.",
        ),
    ] = False,
    parent: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The import whose rejects this file brings, mended: what "
            "`orderworks rejects ID --format csv` wrote. Kind, mapping and --create-customers are "
            "that import's.",
        ),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Import it although the same content was imported before."),
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show progress and wait for the end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Import a file of orders or customers: the workers load it in bulk.

    Orders need the columns id, customer_id and total; status, created_at, updated_at and version are
    optional. Customers need id and name; email, phone and version are optional. Good rows are applied;
    bad ones are kept with line, column and reason: see `orderworks rejects`.

    Exit status: 0 done, or accepted; 1 the import failed, or rows were rejected under --strict (seen
    with --follow or --dry-run), or more than --max-rejects would be (seen with --dry-run); 2 the file
    or an option cannot be accepted.
    """
    mapping = parse_mapping(map_) if map_ else None
    options = msgspec.structs.asdict(select_options(locals()))
    if parent and not (kind and mapping):
        with Imports.from_environment() as known:
            known.republish_parent(parent)
    with Producer.from_settings() as producer:
        job = producer.import_file(_standard_input() if file == "-" else file, **options)
        if job.repeated and not as_json:
            print_sentence(
                f"This content was imported before as {job.id}; --again imports it anew."
            )
        if follow or dry_run:
            _print_end(_wait_for(job, as_json), job, as_json)
        else:
            _print_accepted(job, as_json)


def imports(
    import_id: Annotated[str | None, typer.Argument(help="One import; all without it.")] = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show the progress of one import until it ended.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the newest 50 imports, newest first, or show one: status, rows, what became of them.

    Of one that is running also: rows, bytes and chunks done, rows a second, the time left, and whether
    it is kept back because order updates wait.

    Exit status: with --follow that of `orderworks import --follow`.
    """
    if import_id is None and follow:
        raise InvalidInput("--follow shows one import: give its id")
    with Imports.from_environment() as known:
        if import_id is None:
            _list(known, as_json)
            return
        if follow:
            _follow(known, import_id, as_json)
        summary = known.find_with_wait_state(import_id)
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
            help="csv: the file's columns and what was wrong, to be mended and imported with "
            "--parent; jsonl: an object a line.",
        ),
    ] = Format.CSV,
    all_: Annotated[
        bool, typer.Option("--all", help="Also those that were mended and imported since.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the rejected rows of an import: line, column, code, reason and the raw text.

    To mend them: `orderworks rejects ID > bad.csv`, correct the cells in bad.csv and leave the column
    line as it is, then `orderworks import bad.csv --parent ID`. A cell that begins like a formula has
    a ' before it, for spreadsheets; the import takes it away.
    """
    with Imports.from_environment() as known:
        layout = known.file_format(import_id)
        with known.ledger.connect() as connection:
            found = (iter_rejects if all_ else iter_uncorrected)(connection, import_id)
            if as_json:
                print_json([each._asdict() for each in found])
            elif format_ is Format.JSONL:
                sys.stdout.writelines(_json_lines(found))
            else:
                sys.stdout.writelines(as_csv(found, layout))


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise InvalidInput("standard input is closed: nothing can be read from it")
    if not sys.stdin.isatty():
        return sys.stdin.buffer
    sys.stderr.write("orderworks: the file is read from standard input, until Ctrl-D\n")
    # A buffer would take the first Ctrl-D for the end of a block only.
    return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)


def _list(store: Imports, as_json: bool) -> None:  # noqa: FBT001 - how it is shown
    with store.ledger.connect() as connection:
        found = list_imports(connection, PAGE_SIZE + 1)
    shown = found[:PAGE_SIZE]
    print_json(shown) if as_json else print_list(shown)
    if len(found) > PAGE_SIZE:
        sys.stderr.write(f"orderworks: only the newest {PAGE_SIZE} imports are shown\n")


def _wait_for(job: ImportJob, as_json: bool) -> Summary:  # noqa: FBT001 - how it is shown
    if as_json:
        return job.wait()
    with progress_bar() as show:
        return job.wait(on_progress=show)


def _print_end(summary: Summary, job: ImportJob, as_json: bool) -> None:  # noqa: FBT001
    """Print how the import ended, and end likewise."""
    if as_json:
        print_json({**summary, "repeated": job.repeated})
    else:
        print_summary(summary)
    _exit_with_status(summary)


def _exit_with_status(summary: Summary) -> None:
    """End with the status that tells how the import ended."""
    rejected = (summary.get("would") or summary)["rejected"]
    impure = summary["strict"] and rejected
    if summary["status"] != "done" or impure or would_exceed_rejects(summary):
        raise typer.Exit(FAILED)


def _print_accepted(job: ImportJob, as_json: bool) -> None:  # noqa: FBT001
    if as_json:
        summary: Summary = {"id": job.id, "status": "accepted"}
        # It is accepted whether or not that can be seen.
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
        print_sentence("It is kept back until the order updates that wait are applied.")


def _follow(store: Imports, import_id: str, as_json: bool) -> None:  # noqa: FBT001
    """Wait until an import ended, and show how far it is."""
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
    return (msgspec.json.encode(each._asdict()).decode() + "\n" for each in rejected)
