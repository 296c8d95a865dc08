"""`orderworks import`, `imports` and `rejects`: files of orders and customers."""

from datetime import datetime
from typing import Annotated

import typer

from orderworks.core.errors import InvalidInput
from orderworks_app.cli.options import AsJson
from orderworks_app.operations.import_choices import FileKind, Format, ImportStatus
from orderworks_app.operations.timespans import parse_moment

PAGE_SIZE = 50
"""Imports that are listed without `--limit`."""


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
    arguments = locals()
    from orderworks_app.cli.actions.imports import submit_file

    submit_file(arguments)


def imports(
    import_id: Annotated[
        str | None, typer.Argument(help="Id of an import; default: list all.")
    ] = None,
    *,
    status: Annotated[
        ImportStatus | None, typer.Option(help="List only imports of this status.")
    ] = None,
    kind: Annotated[FileKind | None, typer.Option(help="List only imports of this kind.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help=f"List at most this number, newest first. Default: {PAGE_SIZE}."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show the progress of one import until it has ended.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List imports, newest first, or show one: its status, and its rows by result.

    A running import also has: rows, bytes and chunks done, rows per second, the time left, and whether
    it waits for order updates to be applied first.

    Exit status: with --follow that of `orderworks import --follow`.
    """
    from orderworks_app.cli.actions.imports import list_all, show_import

    if import_id is None and follow:
        raise InvalidInput("--follow needs the id of an import")
    filters = (status, kind, limit)
    if import_id is None:
        list_all(status, kind, limit or PAGE_SIZE, as_json)
    elif any(each is not None for each in filters):
        raise typer.BadParameter("give either an id or filters, not both")
    else:
        show_import(import_id, follow, as_json)


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
    from orderworks_app.cli.actions.imports import write_rejects

    write_rejects(import_id, format_, all_, as_json)
