"""`orderworks import`, `imports` and `rejects`: files of orders and customers."""

import csv
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import msgspec
import sqlalchemy as sa
import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from orders.database import make_engine
from orders.errors import ImportNotFound
from orders.imports.columns import parse_mapping
from orders.imports.ledger import import_summary, iter_rejects, list_imports
from orders.imports.progress import COUNTS, Summary, read_progress
from orders.redis import make_redis
from orders.settings import Settings
from orderworks.cli.failures import FAILED
from orderworks.cli.output import console, print_json, say, table
from producer import ImportJob, Producer


class Kind(StrEnum):
    """What a file holds."""

    ORDERS = "orders"
    CUSTOMERS = "customers"


class Format(StrEnum):
    """How rejects are written."""

    CSV = "csv"
    JSONL = "jsonl"


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def import_file(
    file: Annotated[str, typer.Argument(help="A CSV file with a header line, in UTF-8.")],
    *,
    kind: Annotated[Kind, typer.Option(help="What the file holds.")] = Kind.ORDERS,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help="target=column, for a file that names its columns otherwise."),
    ] = None,
    delimiter: Annotated[str, typer.Option(help="What parts the fields.")] = ",",
    follow: Annotated[bool, typer.Option(help="Show progress and wait for the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import a file of orders or customers: the workers load it in bulk.

    Orders need the columns id, customer_id and total; status, created_at, updated_at and version are
    optional. Customers need id and name; email, phone and version are optional. Good rows are applied;
    bad ones are kept with line, column and reason: see `orderworks rejects`.
    """
    with Producer.from_settings() as producer:
        job = producer.import_file(
            file, kind=kind.value, mapping=parse_mapping(map_ or []), delimiter=delimiter
        )
        if not follow:
            _say_accepted(job, as_json)
            return
        summary = job.wait() if as_json else _follow(job)
    if as_json:
        print_json(summary)
    else:
        _print_summary(summary)
    if summary["status"] != "done":
        raise typer.Exit(FAILED)


def imports(
    import_id: Annotated[str | None, typer.Argument(help="One import; all without it.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the imports, newest first, or show one: status, rows, what became of them."""
    engine = make_engine(Settings.load(), "orderworks-cli")
    with engine.connect() as connection:
        if import_id is None:
            found = list_imports(connection)
            print_json(found) if as_json else _print_list(found)
            return
        summary = _summary(connection, import_id)
    if as_json:
        print_json(summary)
    else:
        _print_summary(summary)


def rejects(
    import_id: Annotated[str, typer.Argument(help="The import.")],
    *,
    format_: Annotated[Format, typer.Option("--format", help="How to write them.")] = Format.CSV,
    as_json: AsJson = False,
) -> None:
    """Write the rejected rows of an import: line, column, code, reason and the raw text."""
    engine = make_engine(Settings.load(), "orderworks-cli")
    with engine.connect() as connection:
        _summary(connection, import_id)
        found = iter_rejects(connection, import_id)
        if as_json:
            print_json(list(found))
        elif format_ is Format.JSONL:
            for reject in found:
                sys.stdout.write(msgspec.json.encode(reject).decode() + "\n")
        else:
            _write_csv(found)


def _summary(connection: sa.Connection, import_id: str) -> Summary:
    """What the ledger says, or where the import is not planned yet, what its producer left."""
    try:
        return import_summary(connection, import_id)
    except ImportNotFound:
        settings = Settings.load()
        with make_redis(settings.stream, settings.redis_timeout) as client:
            accepted = read_progress(client, import_id)
        if accepted is None:
            raise ImportNotFound(
                f"no import has the id {import_id}; `orderworks imports` lists them"
            ) from None
        return accepted


def _say_accepted(job: ImportJob, as_json: bool) -> None:  # noqa: FBT001
    if as_json:
        print_json({"id": job.id, "status": "accepted"})
    else:
        say(f"Accepted as import {job.id}. Follow it with `orderworks imports {job.id}`.")


def _follow(job: ImportJob) -> Summary:
    columns = (
        TextColumn("import {task.fields[id]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("import", total=None, id=job.id)

        def show(summary: Summary) -> None:
            progress.update(bar, total=summary["rows"], completed=_rows_done(summary))

        return job.wait(on_progress=show)


def _rows_done(summary: Summary) -> int:
    return sum(summary[verdict] for verdict in COUNTS)


def _print_list(found: list[Summary]) -> None:
    lines = table("id", "kind", "source", "status", "rows", *COUNTS, right=("rows", *COUNTS))
    for each in found:
        counts = [f"{each[name]:,}" for name in ("rows", *COUNTS)]
        lines.add_row(each["id"], each["kind"], escape(each["source"]), each["status"], *counts)
    console.print(lines)


def _print_summary(summary: Summary) -> None:
    counts = ", ".join(f"{summary[name]:,} {name}" for name in COUNTS if summary[name])
    say(
        f"Import {summary['id']} of {escape(summary['source'])}: {summary['status']}, "
        f"{summary['rows'] or 0:,} rows: {counts or 'nothing done'}."
    )
    if summary["error"]:
        say(f"[red]{escape(summary['error'])}[/]")
    if summary["rejected"]:
        say(f"See why with `orderworks rejects {summary['id']}`.")


def _write_csv(found: Iterable[dict[str, object]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("line", "column", "code", "reason", "raw"))
    for reject in found:
        writer.writerow(
            [_harmless(reject[name]) for name in ("line", "column", "code", "reason", "raw")]
        )


def _harmless(cell: object) -> object:
    """A spreadsheet would run a text cell that begins like a formula; a quote in front stops it."""
    if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{cell}"
    return cell
