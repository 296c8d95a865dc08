"""Uploads of files, streamed into the spool, and imports of files that a dry run kept."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import Field

from orderworks.core.errors import ConfigurationError, InvalidInput
from orderworks.core.settings import Settings
from orderworks.imports.columns import EmptyCells
from orderworks.imports.reject_limit import SHARE
from orderworks_app.gateway.dependencies.authorize import Scope, requires
from orderworks_app.gateway.dependencies.current import ResourcesDep
from orderworks_app.gateway.dependencies.idempotency import run_once
from orderworks_app.gateway.http.ids import PLAIN_DIGITS
from orderworks_app.gateway.http.openapi import IDEMPOTENCY_KEY, response_docs
from orderworks_app.gateway.http.problems import FieldError, Problem, ProblemKind
from orderworks_app.gateway.http.query_params import NO_NUL
from orderworks_app.gateway.http.request_body import RequestBody
from orderworks_app.gateway.http.responses import json_response
from orderworks_app.gateway.routes.imports import ID, ImportIdPath
from orderworks_app.gateway.transfers.uploads import Upload
from orderworks_app.operations.import_choices import FileKind
from orderworks_app.operations.timespans import parse_moment
from producer import ImportJob
from producer.imports.options import select_options
from producer.imports.presets import read_preset

router = APIRouter(prefix="/v1", tags=["imports"])


class Accepted(msgspec.Struct, frozen=True):
    """The response to an accepted file; `repeated`: its content was imported before, as import `id`."""

    id: str
    repeated: bool


RECEIPT = {"id": "20261126-150000-1a2b3c4d", "repeated": False}

UPLOAD = {
    "parameters": [IDEMPOTENCY_KEY],
    "requestBody": {
        "required": True,
        "description": "The file: CSV with a header line, JSON Lines or Parquet, uncompressed or "
        "compressed by gzip or zstd.",
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
            description="target:column, the name of a column in the file where it differs. May be "
            "given several times.",
        ),
    ] = None,
) -> dict[str, str] | None:
    """Return target to source column: a dependency of routes.

    Raises:
        Problem: a pair is invalid, or a target occurs twice.
    """
    mapping: dict[str, str] = {}
    for pair in pairs or ():
        target, _, column = pair.partition(":")
        if not (target and column) or target in mapping:
            detail = f"{pair!r}: give each target once, as target:column"
            raise Problem(ProblemKind.INVALID, f"map: {detail}", errors=[FieldError("map", detail)])
        mapping[target] = column
    return mapping or None


def moment_of_content(
    text: Annotated[
        str | None,
        Query(
            alias="as_of",
            description="When the content was made, such as 2026-11-29T02:00:00Z: what was written "
            "since is newer than rows without a version.",
        ),
    ] = None,
) -> datetime | None:
    """Return the moment: a dependency of routes.

    Raises:
        Problem: the text is not a moment.
    """
    try:
        return None if text is None else parse_moment(text)
    except InvalidInput as error:
        errors = [FieldError("as_of", str(error))]
        raise Problem(ProblemKind.INVALID, f"as_of: {error}", errors=errors) from None


@dataclass(frozen=True)
class ImportQuery:
    """The options of an import as query parameters, by the names of `ImportOptions`."""

    mapping: Annotated[dict[str, str] | None, Depends(mapping_of)]
    as_of: Annotated[datetime | None, Depends(moment_of_content)]
    kind: Annotated[
        FileKind | None,
        Query(description="Kind of the rows. Default: that of preset or parent, or orders."),
    ] = None
    delimiter: Annotated[
        str | None,
        Query(
            pattern="^[\\x01-\\x7f]$",
            description="Delimiter of CSV; detected by default.",
        ),
    ] = None
    preset: Annotated[
        str | None, Query(description="Name of a preset in the gateway's file IMPORT_PRESETS.")
    ] = None
    strict: Annotated[bool, Query(description="Apply all rows, or none.")] = False
    max_rejects: Annotated[
        Annotated[int, Field(ge=0, lt=2**63), PLAIN_DIGITS]
        | Annotated[str, Field(pattern=SHARE)]
        | None,
        Query(
            description="Stop after more rejected rows than this: a number, or a share such as 10%."
        ),
    ] = None
    create_customers: Annotated[
        bool, Query(description="Create customers that orders refer to and that do not exist.")
    ] = False
    parent: Annotated[
        str | None,
        Query(pattern=ID, description="The import whose rejected rows this file has, corrected."),
    ] = None
    empty: Annotated[
        EmptyCells,
        Query(description="What an empty cell of CSV does to a customer's e-mail or phone."),
    ] = "keeps"
    again: Annotated[
        bool, Query(description="Import the file although its content was imported before.")
    ] = False
    dry_run: Annotated[
        bool,
        Query(
            description="Change nothing; the last event has the results that the import would have."
        ),
    ] = False
    keep: Annotated[
        bool,
        Query(description="Keep the file of a dry run for six hours, so that it can be imported."),
    ] = False


@router.post(
    "/imports",
    operation_id="import_file",
    status_code=202,
    dependencies=[Depends(requires(Scope.ENQUEUE))],
    openapi_extra=UPLOAD,
    responses=response_docs(
        202, "It is accepted; `Location` is where to follow it.", Accepted, RECEIPT
    ),
)
async def import_file(
    request: Request,
    state: ResourcesDep,
    query: Annotated[ImportQuery, Depends()],
    filename: Annotated[
        str,
        Query(
            min_length=1,
            max_length=255,
            pattern=NO_NUL,
            description="Name of the file, for display.",
        ),
    ] = "upload",
) -> Response:
    """Submit a file; it is stored while it is received, and workers load it in bulk.

    Orders need the columns id, customer_id and total; customers id and name.
    """
    options = select_options(vars(query))
    if options.preset is not None:
        await state.in_thread(_check_preset, state.settings, options.preset)
    if options.parent and not (options.kind and options.mapping):
        await state.in_thread(state.blocking.imports.republish_parent, options.parent)
    body = RequestBody(request, state.settings.import_max_bytes)

    async def submit() -> Response:
        job = await state.uploads.accept(Upload(body, filename), options)
        return _receipt(job)

    return await run_once(request, state, body, submit)


def _receipt(job: ImportJob) -> Response:
    return json_response(Accepted(job.id, job.repeated), 202, {"Location": f"/v1/imports/{job.id}"})


@router.post(
    "/imports/{import_id}:import",
    operation_id="import_tried",
    status_code=202,
    dependencies=[Depends(requires(Scope.ENQUEUE))],
    openapi_extra={"parameters": [IDEMPOTENCY_KEY]},
    responses=response_docs(
        202, "It is accepted; `Location` is where to follow it.", Accepted, RECEIPT
    ),
)
async def import_tried(
    import_id: ImportIdPath,
    request: Request,
    state: ResourcesDep,
    again: Annotated[  # noqa: FBT002
        bool, Query(description="Import the file although its content was imported before.")
    ] = False,
) -> Response:
    """Import the file that a dry run kept (`keep`), with the dry run's options, under the same id."""
    body = RequestBody(request, state.settings.gateway_max_body)

    async def submit() -> Response:
        return _receipt(await state.producer.import_tried(import_id, again=again))

    return await run_once(request, state, body, submit)


def _check_preset(settings: Settings, name: str) -> None:
    """Raise Problem, as an error of the client, if there is no such preset."""
    try:
        read_preset(settings.import_presets, name)
    except ConfigurationError as error:
        errors = [FieldError("preset", str(error))]
        raise Problem(ProblemKind.INVALID, f"preset: {error}", errors=errors) from None
