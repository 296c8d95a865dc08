"""Imports: reading, following and control of them, and their rejects. `files` accepts new ones."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from orderworks.imports.ledger import list_imports
from orderworks.imports.progress import Summary
from orderworks.imports.rejects import (
    Reasons,
    RejectedRow,
    count_reasons,
    page_of_rejects,
    page_of_uncorrected,
)
from orderworks_app.gateway.dependencies.authorize import Scope, requires, still_authorized
from orderworks_app.gateway.dependencies.current import ResourcesDep
from orderworks_app.gateway.dependencies.import_lookup import find_import
from orderworks_app.gateway.http.ids import PLAIN_DIGITS
from orderworks_app.gateway.http.openapi import Responses, response_docs
from orderworks_app.gateway.http.pagination import decode_cursor, page_response
from orderworks_app.gateway.http.responses import json_response
from orderworks_app.gateway.streaming.sse import EventStream, encode_event, event_docs
from orderworks_app.gateway.transfers.reject_files import csv_encoder, json_lines, reject_file
from orderworks_app.operations.import_choices import Format, Steer

router = APIRouter(prefix="/v1", tags=["imports"])

ID = "^[A-Za-z0-9-]{1,64}$"

READ = [Depends(requires(Scope.READ))]

ImportIdPath = Annotated[str, Path(pattern=ID, description="The import's id.")]

_CURSOR = msgspec.json.Decoder(
    tuple[Annotated[datetime, msgspec.Meta(tz=True)], Annotated[str, msgspec.Meta(pattern=ID)]]
)


class ImportList(msgspec.Struct, frozen=True):
    """A page of imports, newest first."""

    imports: list[Summary]
    next: str | None


class Rejected(msgspec.Struct, frozen=True):
    """The reasons of rejects, most rows first; without those that were corrected and imported."""

    reasons: list[Reasons]


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
    "ignored_columns": ["note"],
    "notes": [],
    "repeated_ids": None,
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


@router.get(
    "/imports",
    operation_id="imports",
    dependencies=READ,
    responses=response_docs(
        200, "A page of them.", ImportList, {"imports": [IMPORT], "next": None}
    ),
)
async def imports(
    request: Request,
    resources: ResourcesDep,
    limit: Annotated[int, Query(ge=1, le=500, description="Imports of a page."), PLAIN_DIGITS] = 50,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> Response:
    """The imports of the ledger, newest first."""
    before = decode_cursor(cursor, _CURSOR)

    def load() -> list[Summary]:
        with resources.engine.connect() as connection:
            return list_imports(connection, limit + 1, before)

    rows = await resources.in_thread(load)
    return page_response(
        request, "imports", rows, limit, lambda each: (each["accepted_at"], each["id"])
    )


@router.get(
    "/imports/{import_id}",
    operation_id="import",
    dependencies=READ,
    responses=response_docs(200, "The import.", Summary, {**IMPORT, "waits_for_updates": False}),
)
async def one_import(import_id: ImportIdPath, resources: ResourcesDep) -> Response:
    """Progress and result of an import, also of a dry run or of one that no worker has started.

    While PostgreSQL is unavailable it is what workers published last: `Age` is its age in seconds, and
    `waits_for_updates` is null.
    """
    snapshot = await find_import(resources, import_id)
    headers = {} if snapshot.age is None else {"Age": str(snapshot.age)}
    return json_response(snapshot.summary, headers=headers)


@router.get(
    "/imports/{import_id}/events",
    operation_id="import_events",
    dependencies=READ,
    response_class=StreamingResponse,
    responses=event_docs(
        "Events `progress`, `away` and `end`.", Summary, encode_event("progress", 1, IMPORT)
    ),
)
async def import_events(
    import_id: ImportIdPath, request: Request, resources: ResourcesDep
) -> Response:
    """The progress of an import as server-sent events, until its end.

    `progress` has the import after each change. `end` has its final state and is the last event.
    `away` has the reason why the state cannot be read at the moment; the stream continues.
    """
    await resources.in_thread(resources.blocking.imports.find, import_id)
    events = resources.streams.import_events(import_id)
    return EventStream(events, still_authorized(request, Scope.READ), resources.streams.slots)


@router.get(
    "/imports/{import_id}/rejects",
    operation_id="rejects",
    dependencies=READ,
    response_class=Response,
    responses=REJECTS,
)
async def rejects(
    import_id: ImportIdPath,
    resources: ResourcesDep,
    format_: Annotated[
        Format,
        Query(
            alias="format",
            description="csv: the file's columns and the errors, to be corrected and imported with "
            "`parent`; jsonl: one object per line.",
        ),
    ] = Format.CSV,
    all_: Annotated[  # noqa: FBT002
        bool, Query(alias="all", description="Also those that were corrected and imported since.")
    ] = False,
) -> Response:
    """The rejected rows of an import as a file: line, column, code, reason and the raw text."""
    layout = await resources.in_thread(resources.blocking.imports.file_format, import_id)
    select_page = page_of_rejects if all_ else page_of_uncorrected
    encode_page, media_type = {
        Format.CSV: (csv_encoder(layout), "text/csv; charset=utf-8"),
        Format.JSONL: (json_lines, "application/x-ndjson"),
    }[format_]

    def read_page(after: int, limit: int) -> Sequence[RejectedRow]:
        with resources.engine.connect() as connection:
            return select_page(connection, import_id, after, limit)

    name = f"rejects-{import_id}.{format_.value}"
    return StreamingResponse(
        reject_file(resources.in_thread, read_page, encode_page),
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
        media_type=media_type,
    )


@router.get(
    "/imports/{import_id}/rejects/reasons",
    operation_id="reject_reasons",
    dependencies=READ,
    responses=response_docs(200, "The reasons of rejects.", Rejected, {"reasons": [REASONS]}),
)
async def reject_reasons(import_id: ImportIdPath, resources: ResourcesDep) -> Response:
    """The reasons why rows of an import were rejected: by column and code, each with its first row."""
    await resources.in_thread(resources.blocking.imports.file_format, import_id)

    def load() -> list[Reasons]:
        with resources.engine.connect() as connection:
            return count_reasons(connection, import_id)

    return json_response(Rejected(await resources.in_thread(load)))


@router.post(
    "/imports/{import_id}:{steer}",
    operation_id="steer_import",
    dependencies=[Depends(requires(Scope.OPERATE))],
    responses=response_docs(200, "The import after that.", Summary, {**IMPORT, "status": "paused"}),
)
async def steer_import(import_id: ImportIdPath, steer: Steer, resources: ResourcesDep) -> Response:
    """Pause, resume or cancel an import, or retry its quarantined chunks.

    Chunks that are being loaded are completed, and rows that are loaded stay loaded.
    """
    return json_response(
        await resources.in_thread(resources.blocking.imports.steer, import_id, steer)
    )
