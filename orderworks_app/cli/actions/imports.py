"""Imports: submits files, shows and follows imports, and writes rejected rows."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

import msgspec
import typer

from orderworks.core.errors import InvalidInput, Unavailable
from orderworks.imports.columns import parse_mapping
from orderworks.imports.ledger import list_imports
from orderworks.imports.progress import ENDED, Summary
from orderworks.imports.rejects import RejectedRow, as_csv, iter_rejects, iter_uncorrected
from orderworks_app.cli.actions.import_views import (
    print_list,
    print_summary,
    progress_bar,
    would_exceed_rejects,
    would_reject_all,
)
from orderworks_app.cli.actions.interrupts import (
    dry_run_continues,
    explained_interrupt,
    import_continues,
)
from orderworks_app.cli.failures import FAILED
from orderworks_app.operations.import_choices import FileKind, Format, ImportStatus
from orderworks_app.operations.imports import Imports
from orderworks_app.terminal import print_json, print_sentence
from producer import ImportJob, Producer
from producer.imports.options import select_options

POLL_INTERVAL = 0.5
"""Seconds between two reads of the ledger."""


def submit_file(arguments: Mapping[str, Any]) -> None:
    """Submit the file that the arguments of `orderworks import` name; follow it if they ask for it.

    Raises:
        typer.Exit: the import failed, or a dry run shows that it would.
    """
    file, map_, parent, as_json = (
        arguments[name] for name in ("file", "map_", "parent", "as_json")
    )
    mapping = parse_mapping(map_) if map_ else None
    options = msgspec.structs.asdict(select_options({**arguments, "mapping": mapping}))
    if parent and not (arguments["kind"] and mapping):
        with Imports.from_environment() as store:
            store.republish_parent(parent)
    with Producer.from_settings() as producer:
        job = producer.import_file(_standard_input() if file == "-" else file, **options)
        if job.repeated and not as_json:
            print_sentence(
                f"This content was imported before, as {job.id}; --again imports it again."
            )
        if arguments["follow"] or arguments["dry_run"]:
            continues = dry_run_continues if arguments["dry_run"] else import_continues
            with explained_interrupt(lambda: continues(job.id)):
                summary = _wait_for(job, as_json)
            _print_end(summary, job, as_json)
        else:
            _print_accepted(job, as_json)


def list_all(
    status: ImportStatus | None,
    kind: FileKind | None,
    limit: int,
    as_json: bool,  # noqa: FBT001 - the output format
) -> None:
    """List the newest imports, only of a status and kind, if given."""
    with Imports.from_environment() as store, store.ledger.connect() as connection:
        summaries = list_imports(connection, limit + 1, status=status, kind=kind)
    shown = summaries[:limit]
    if as_json:
        print_json(shown)
    elif shown:
        print_list(shown)
    else:
        print_sentence(f"No imports{' match the filters' if status or kind else ''}.")
    if len(summaries) > limit:
        sys.stderr.write(f"orderworks: showing only the newest {limit:,} imports; see --limit\n")


def show_import(import_id: str, follow: bool, as_json: bool) -> None:  # noqa: FBT001 - options
    """Show an import; with `follow`, its progress until it has ended.

    Raises:
        typer.Exit: the followed import failed.
    """
    with Imports.from_environment() as store:
        if follow:
            with explained_interrupt(lambda: import_continues(import_id)):
                _follow(store, import_id, as_json)
        summary = store.find_with_wait_state(import_id)
        _show(summary, as_json)
        if follow:
            _exit_with_status(summary)


def write_rejects(import_id: str, format_: Format, all_: bool, as_json: bool) -> None:  # noqa: FBT001
    """Write the rejected rows of an import to standard output."""
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
