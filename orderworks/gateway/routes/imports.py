"""Imports: files handed over, followed, steered; and the rows that were rejected."""

from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from orders.errors import ConfigurationError
from orders.imports.ledger import list_imports
from orders.imports.presets import read_preset
from orders.imports.progress import Summary
from orders.imports.rejects import Reasons, count_reasons, page_of_rejects, page_of_unmended
from orders.settings import Settings
from orderworks.gateway.answers import answer
from orderworks.gateway.auth import Scope, allowed, welcome
from orderworks.gateway.bodies import Body
from orderworks.gateway.describe import KEY, Responses, gives
from orderworks.gateway.downloads import csv_of, download, json_lines
from orderworks.gateway.events import EventStream, encoded, streams
from orderworks.gateway.lasttold import look
from orderworks.gateway.pages import page, place_of
from orderworks.gateway.problems import FieldError, Kind, Problem
from orderworks.gateway.queries import NO_NUL
from orderworks.gateway.replays import once
from orderworks.gateway.state import State, state_of
from orderworks.gateway.uploads import Upload
from orderworks.imports import FileKind, Format, Steer
from producer import ImportJob

router = APIRouter(prefix="/v1", tags=["imports"])

ID = "^[A-Za-z0-9-]{1,64}$"

READ = [Depends(allowed(Scope.READ))]

Here = Annotated[State, Depends(state_of)]
ImportId = Annotated[str, Path(pattern=ID, description="The import's id.")]

_PLACE = msgspec.json.Decoder(
    tuple[Annotated[datetime, msgspec.Meta(tz=True)], Annotated[str, msgspec.Meta(pattern=ID)]]
)


class Accepted(msgspec.Struct, frozen=True):
    """The receipt for a file; `repeated`: the same content was imported before, as the import `id`."""

    id: str
    repeated: bool


class ImportList(msgspec.Struct, frozen=True):
    """A page of imports, newest first."""

    imports: list[Summary]
    next: str | None


class Rejected(msgspec.Struct, frozen=True):
    """What rows were rejected for, most rows first; without those that came again, mended."""

    reasons: list[Reasons]


RECEIPT = {"id": "20261126-150000-1a2b3c4d", "repeated": False}

IMPORT = {
    "id": "20261126-150000-1a2b3c4d",
    "kind": "orders",
    "source": "orders.csv",
    "mapping": {"id": "id", "customer_id": "customer_id", "total": "o_total"},
    "strict": False,
    "max_rejects": None,
    "create_customers": False,
    "dry_run": False,
    "parent": None,
    "status": "running",
    "error": None,
    "steps": 7,
    "bytes": 123456,
    "bytes_done": 60000,
    "rows": 10000,
    "rows_left": 5000,
    "applied": 4990,
    "unchanged": 0,
    "stale": 0,
    "superseded": 0,
    "rejected": 10,
    "mended": 0,
    "chunks": 4,
    "chunks_done": 2,
    "quarantined": 0,
    "rows_per_second": 50000.0,
    "eta_seconds": 0.1,
    "accepted_at": "2026-11-26T15:00:00+00:00",
    "finished_at": None,
}

REASONS = {
    "column": "total",
    "code": "bad_number",
    "rows": 12,
    "first_line": 3,
    "reason": "total: '1,5' is not a number",
}

REJECTS: Responses = {
    200: {
        "description": "The rejected rows.",
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "id,customer_id,total,line,column,code,reason,raw\n"
                "43,8,x,3,total,bad_number,total: 'x' is not a number,\n",
            },
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"line":3,"column":"total","code":"bad_number",'
                '"reason":"total: \'x\' is not a number","raw":"43,8,x"}\n',
            },
        },
    }
}

UPLOAD = {
    "parameters": [KEY],
    "requestBody": {
        "required": True,
        "description": "The file: CSV with a header line, JSON Lines or Parquet, plain or packed by "
        "gzip or zstd.",
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "id,customer_id,total\n42,7,19.99\n",
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}


def mapping_of(
    pairs: Annotated[
        list[str] | None,
        Query(
            alias="map",
            description="target:column, for a file that names its columns otherwise. May be given "
            "several times.",
        ),
    ] = None,
) -> dict[str, str] | None:
    """Target to source column: a dependency of routes.

    Raises:
        Problem: a pair is none, or a target is there twice.
    """
    mapping: dict[str, str] = {}
    for pair in pairs or ():
        target, _, column = pair.partition(":")
        if not (target and column) or target in mapping:
            detail = f"{pair!r}: give each target once, as target:column"
            raise Problem(Kind.INVALID, f"map: {detail}", errors=[FieldError("map", detail)])
        mapping[target] = column
    return mapping or None


@router.post(
    "/imports",
    operation_id="import_file",
    status_code=202,
    dependencies=[Depends(allowed(Scope.ENQUEUE))],
    openapi_extra=UPLOAD,
    responses=gives(202, "It is accepted; `Location` is where to follow it.", Accepted, RECEIPT),
)
async def import_file(  # noqa: PLR0913, PLR0917 - all that can be said of a file
    request: Request,
    state: Here,
    mapping: Annotated[dict[str, str] | None, Depends(mapping_of)],
    filename: Annotated[
        str,
        Query(min_length=1, max_length=255, pattern=NO_NUL, description="Its name, for people."),
    ] = "upload",
    kind: Annotated[
        FileKind | None,
        Query(description="What it holds: orders, unless preset or parent say else."),
    ] = None,
    delimiter: Annotated[
        str | None,
        Query(
            pattern="^[\\x01-\\x7f]$",
            description="What parts the fields of CSV; found out if not given.",
        ),
    ] = None,
    preset: Annotated[
        str | None, Query(description="A preset of the gateway's file IMPORT_PRESETS.")
    ] = None,
    strict: Annotated[bool, Query(description="Import all rows, or none.")] = False,  # noqa: FBT002
    max_rejects: Annotated[
        int | None, Query(ge=0, lt=2**63, description="Stop when more rows than this are rejected.")
    ] = None,
    create_customers: Annotated[  # noqa: FBT002
        bool, Query(description="Make customers that orders name and nobody knows.")
    ] = False,
    parent: Annotated[
        str | None,
        Query(pattern=ID, description="The import whose rejects this file brings, mended."),
    ] = None,
    again: Annotated[  # noqa: FBT002
        bool, Query(description="Although the same content was imported before.")
    ] = False,
    dry_run: Annotated[  # noqa: FBT002
        bool, Query(description="Change nothing: its events end with what would be.")
    ] = False,
    keep: Annotated[  # noqa: FBT002
        bool, Query(description="Keep the file of a dry run for six hours, to be imported.")
    ] = False,
) -> Response:
    """Hand over a file, which is read as it comes: the workers load it in bulk.

    Orders need the columns id, customer_id and total; customers id and name.
    """
    if preset is not None:
        await state.in_thread(_check_preset, state.settings, preset)
    if parent and not (kind and mapping):
        await state.in_thread(state.blocking.imports.remind_of, parent)
    body = Body(request, state.settings.import_max_bytes)

    async def hand_over() -> Response:
        job = await state.uploads.accept(
            Upload(body, filename),
            kind=kind and kind.value,
            mapping=mapping,
            delimiter=delimiter,
            preset=preset,
            strict=strict,
            max_rejects=max_rejects,
            create_customers=create_customers,
            parent=parent,
            again=again,
            dry_run=dry_run,
            keep=keep,
        )
        return _receipt(job)

    return await once(request, state, body, hand_over)


def _receipt(job: ImportJob) -> Response:
    return answer(Accepted(job.id, job.repeated), 202, {"Location": f"/v1/imports/{job.id}"})


@router.post(
    "/imports/{import_id}:import",
    operation_id="import_tried",
    status_code=202,
    dependencies=[Depends(allowed(Scope.ENQUEUE))],
    openapi_extra={"parameters": [KEY]},
    responses=gives(202, "It is accepted; `Location` is where to follow it.", Accepted, RECEIPT),
)
async def import_tried(
    import_id: ImportId,
    request: Request,
    state: Here,
    again: Annotated[  # noqa: FBT002
        bool, Query(description="Although the same content was imported before.")
    ] = False,
) -> Response:
    """Import the file that a dry run has kept (`keep`), as it was tried, under the same id."""
    body = Body(request, state.settings.gateway_max_body)

    async def hand_over() -> Response:
        return _receipt(await state.producer.import_tried(import_id, again=again))

    return await once(request, state, body, hand_over)


def _check_preset(settings: Settings, name: str) -> None:
    """Say that it is the client's mistake, if there is no such preset."""
    try:
        read_preset(settings.import_presets, name)
    except ConfigurationError as error:
        errors = [FieldError("preset", str(error))]
        raise Problem(Kind.INVALID, f"preset: {error}", errors=errors) from None


@router.get(
    "/imports",
    operation_id="imports",
    dependencies=READ,
    responses=gives(200, "A page of them.", ImportList, {"imports": [IMPORT], "next": None}),
)
async def imports(
    request: Request,
    state: Here,
    limit: Annotated[int, Query(ge=1, le=500, description="Imports of a page.")] = 50,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> Response:
    """The imports of the ledger, newest first."""
    before = place_of(cursor, _PLACE)

    def find() -> list[Summary]:
        with state.engine.connect() as connection:
            return list_imports(connection, limit + 1, before)

    found = await state.in_thread(find)
    return page(request, "imports", found, limit, lambda each: (each["accepted_at"], each["id"]))


@router.get(
    "/imports/{import_id}",
    operation_id="import",
    dependencies=READ,
    responses=gives(200, "The import.", Summary, {**IMPORT, "waits_for_updates": False}),
)
async def one_import(import_id: ImportId, state: Here) -> Response:
    """One import, also one that is accepted only, or a dry run: how far it is, what became of it.

    While PostgreSQL is away it is what workers said last: `Age` says how many seconds ago, and
    `waits_for_updates` is null.
    """
    told = await look(state, import_id)
    return answer(told.summary, headers={} if told.age is None else {"Age": str(told.age)})


@router.get(
    "/imports/{import_id}/events",
    operation_id="import_events",
    dependencies=READ,
    response_class=StreamingResponse,
    responses=streams(
        "Events `progress`, `away` and `end`.", Summary, encoded("progress", 1, IMPORT)
    ),
)
async def import_events(import_id: ImportId, request: Request, state: Here) -> Response:
    """The way of an import as server-sent events, until it ended.

    `progress` has the import whenever that moved, `end` has it as it stays, and is the last event.
    `away` says why nobody can tell just now; the stream goes on.
    """
    await state.in_thread(state.blocking.imports.find, import_id)
    return EventStream(state.shared.import_events(import_id), welcome(request, Scope.READ))


@router.get(
    "/imports/{import_id}/rejects",
    operation_id="rejects",
    dependencies=READ,
    response_class=Response,
    responses=REJECTS,
)
async def rejects(
    import_id: ImportId,
    state: Here,
    format_: Annotated[
        Format,
        Query(
            alias="format",
            description="csv: the file's columns and what was wrong, to be mended and imported with "
            "`parent`; jsonl: an object a line.",
        ),
    ] = Format.CSV,
    all_: Annotated[  # noqa: FBT002
        bool, Query(alias="all", description="Also those that were mended and imported since.")
    ] = False,
) -> Response:
    """The rejected rows of an import as a file: line, column, code, reason and the raw text."""
    layout = await state.in_thread(state.blocking.imports.layout, import_id)
    read = page_of_rejects if all_ else page_of_unmended
    write, media_type = {
        Format.CSV: (csv_of(layout), "text/csv; charset=utf-8"),
        Format.JSONL: (json_lines, "application/x-ndjson"),
    }[format_]
    return download(
        state, import_id, read, write, media_type, f"rejects-{import_id}.{format_.value}"
    )


@router.get(
    "/imports/{import_id}/rejects/reasons",
    operation_id="reject_reasons",
    dependencies=READ,
    responses=gives(200, "What rows were rejected for.", Rejected, {"reasons": [REASONS]}),
)
async def reject_reasons(import_id: ImportId, state: Here) -> Response:
    """What rows of an import were rejected for: by column and code, each with the first of its rows."""
    await state.in_thread(state.blocking.imports.layout, import_id)

    def count() -> list[Reasons]:
        with state.engine.connect() as connection:
            return count_reasons(connection, import_id)

    return answer(Rejected(await state.in_thread(count)))


@router.post(
    "/imports/{import_id}:{steer}",
    operation_id="steer_import",
    dependencies=[Depends(allowed(Scope.OPERATE))],
    responses=gives(200, "How far the import is then.", Summary, {**IMPORT, "status": "paused"}),
)
async def steer_import(import_id: ImportId, steer: Steer, state: Here) -> Response:
    """Pause, resume or cancel an import, or retry its chunks that were given up.

    Chunks that are being loaded are loaded to their end, and what is loaded stays loaded.
    """
    return answer(await state.in_thread(state.blocking.imports.steer, import_id, steer))
