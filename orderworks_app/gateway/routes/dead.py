"""Dead letters: listing and replaying of updates that could not be applied."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import msgspec
from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from orderworks.core.bounds import MAX_BIGINT
from orderworks.core.errors import InvalidInput, ReplayStopped
from orderworks.updates.dead_letters import (
    DeadLetterFilter,
    DeadLetterPage,
    Letter,
    list_dead_letters,
)
from orderworks.updates.replay import Replay, ReplayResult, Unreadable
from orderworks_app.gateway.dependencies.authorize import Scope, requires
from orderworks_app.gateway.dependencies.current import ResourcesDep
from orderworks_app.gateway.http.ids import PLAIN_DIGITS, IdForm, IdFormQuery, id_of, in_form
from orderworks_app.gateway.http.openapi import request_docs, response_docs
from orderworks_app.gateway.http.pagination import decode_cursor, page_response
from orderworks_app.gateway.http.problems import (
    FieldError,
    Problem,
    ProblemKind,
    problem_of,
    retry_later,
)
from orderworks_app.gateway.http.query_params import NO_NUL
from orderworks_app.gateway.http.responses import json_response, read_json
from orderworks_app.gateway.resources import GatewayResources
from orderworks_app.operations.timespans import parse_moment

router = APIRouter(prefix="/v1", tags=["dead letters"])

MAX_LISTED = 1000

MAX_REPLAYED = 10_000
"""The most of one request: at the rate of a replay, some ten seconds."""

REPLAY_ROOM_WAIT = 10.0
"""Seconds to wait for room in a full stream, and for another replay to end."""

PositiveId = Annotated[int, msgspec.Meta(ge=1, le=MAX_BIGINT)]


_CURSOR = msgspec.json.Decoder(PositiveId)


class DeadLetters(msgspec.Struct, frozen=True):
    """A page of dead letters, newest first, and the number of all that match."""

    total: int
    dead: list[Letter]
    next: str | None


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Selects dead letters that were not replayed: those that meet all given conditions."""

    reason: Annotated[str, msgspec.Meta(pattern=NO_NUL)] = ""
    order: PositiveId | str | None = None
    since: str | None = None
    until: str | None = None


class Replays(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The dead letters to replay, by `ids` or by `filter`; at most `limit`, the oldest first."""

    ids: Annotated[list[PositiveId | str], msgspec.Meta(max_length=MAX_REPLAYED)] | None = None
    filter: Filter | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_REPLAYED)] = 1000
    dry_run: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """The number of replayed dead letters, of matching ones that are left, and the unreadable ones."""

    dry_run: bool
    replayed: int
    left: int
    unreadable: list[Unreadable]


LETTER = {
    "id": 9,
    "order_id": 42,
    "version": 1,
    "reason": "order 42: there is no such order",
    "payload": '{"order_id":42,"total":"19.99"}',
    "shard": 0,
    "entry": "1795704831018-0",
    "accepted_at": "2026-11-26T15:00:00Z",
    "first_seen": "2026-11-26T15:00:00Z",
    "died_at": "2026-11-26T15:05:00Z",
    "attempts": 5,
    "replayed_at": None,
}


@router.get(
    "/dead",
    operation_id="dead_letters",
    dependencies=[Depends(requires(Scope.READ))],
    responses=response_docs(
        200, "A page of them.", DeadLetters, {"total": 1, "dead": [LETTER], "next": None}
    ),
)
async def dead_letters(  # noqa: PLR0913, PLR0917 - all that dead updates can be found by
    request: Request,
    resources: ResourcesDep,
    ids: Annotated[
        list[Annotated[int, Query(ge=1, le=MAX_BIGINT), PLAIN_DIGITS]] | None,
        Query(alias="id", max_length=MAX_LISTED, description="Only these."),
    ] = None,
    reason: Annotated[
        str, Query(pattern=NO_NUL, description="Only those with this text in the reason.")
    ] = "",
    order: Annotated[
        int | None,
        Query(ge=1, le=MAX_BIGINT, description="Only those of this order."),
        PLAIN_DIGITS,
    ] = None,
    since: Annotated[
        str | None, Query(description="Only those dead-lettered since: 2h, 3d, ISO 8601.")
    ] = None,
    until: Annotated[str | None, Query(description="Only those dead-lettered before.")] = None,
    replayed: Annotated[
        bool | None, Query(description="Only those that were replayed, or were not.")
    ] = None,
    limit: Annotated[
        int, Query(ge=1, le=MAX_LISTED, description="Dead letters of a page."), PLAIN_DIGITS
    ] = 50,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    id_form: IdFormQuery = IdForm.NUMBER,
) -> Response:
    """The dead letters, newest first, each with its reason."""
    criteria = _criteria(Filter(reason, order, since, until), ids or (), replayed)
    before = decode_cursor(cursor, _CURSOR)

    def load() -> DeadLetterPage:
        with resources.engine.connect() as connection:
            return list_dead_letters(connection, criteria, limit + 1, before)

    page = await resources.in_thread(load)
    return page_response(
        request, "dead", page.dead, limit, lambda letter: letter.id, id_form, total=page.total
    )


@router.post(
    "/dead:replay",
    operation_id="replay_dead_letters",
    dependencies=[Depends(requires(Scope.OPERATE))],
    openapi_extra=request_docs(Replays, {"ids": [9], "dry_run": True}),
    responses=response_docs(
        200,
        "The result.",
        Outcome,
        {"dry_run": True, "replayed": 0, "left": 1, "unreadable": []},
    ),
)
async def replay_dead_letters(
    request: Request, resources: ResourcesDep, id_form: IdFormQuery = IdForm.NUMBER
) -> Response:
    """Send dead updates again. Fix the cause first, or the updates will be dead-lettered again.

    An update keeps its version, so it overwrites nothing newer. Those that were replayed before are
    replayed again only by their ids.
    """
    options = await read_json(request, Replays)
    if (options.ids is None) == (options.filter is None):
        raise Problem(
            ProblemKind.INVALID, "give either ids or a filter; an empty filter selects all"
        )
    ids = [id_of("ids", each) for each in options.ids or ()]
    criteria = _criteria(options.filter or Filter(), ids)
    if options.ids == []:
        return json_response(Outcome(options.dry_run, 0, 0, []))
    run = resources.blocking.replay(REPLAY_ROOM_WAIT)
    if options.dry_run:
        result = await resources.in_thread(run.dry_run, criteria)
    else:
        async with _one_replay(resources):
            # Not in one of the shared threads: a replay sleeps for most of its time.
            result = await to_thread.run_sync(_replay, run, criteria, options.limit)
    outcome = Outcome(options.dry_run, result.replayed, result.left, result.unreadable)
    return json_response(in_form(outcome, id_form))


@asynccontextmanager
async def _one_replay(resources: GatewayResources) -> AsyncIterator[None]:
    """Run the block while no other replay runs.

    Raises:
        Problem: another replay did not end in time.
    """
    try:
        await asyncio.wait_for(resources.replay_lock.acquire(), REPLAY_ROOM_WAIT)
    except TimeoutError:
        raise retry_later(
            ProblemKind.TOO_MANY, "another replay is running", REPLAY_ROOM_WAIT
        ) from None
    try:
        yield
    finally:
        resources.replay_lock.release()


def _replay(run: Replay, criteria: DeadLetterFilter, limit: int) -> ReplayResult:
    try:
        return run.run(criteria, limit)
    except ReplayStopped as stopped:
        problem = problem_of(stopped.cause)
        more: dict[str, Any] = {"replayed": stopped.replayed, "left": stopped.left}
        raise Problem(
            problem.kind, str(stopped), headers=problem.headers, more=more
        ) from stopped.cause


def _criteria(
    conditions: Filter,
    ids: "list[int] | tuple[()]",
    replayed: bool | None = None,  # noqa: FBT001 - a condition, not a switch
) -> DeadLetterFilter:
    """Return the criteria of the query for dead letters.

    Raises:
        Problem: a time is not valid; names the field.
    """
    times = {}
    for name, text in (("since", conditions.since), ("until", conditions.until)):
        try:
            times[name] = None if text is None else parse_moment(text)
        except InvalidInput as error:
            raise Problem(
                ProblemKind.INVALID, f"{name}: {error}", errors=[FieldError(name, str(error))]
            ) from None
    order_id = None if conditions.order is None else id_of("order", conditions.order)
    return DeadLetterFilter(
        ids=ids, reason=conditions.reason, order_id=order_id, replayed=replayed, **times
    )
