"""Dead letters: updates that were given up, listed and replayed."""

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
"""Of one request: at the pace of a replay, some ten seconds."""

REPLAY_ROOM_WAIT = 10.0
"""Seconds that a full stream is given to get room, and other replays to end."""

PositiveId = Annotated[int, msgspec.Meta(ge=1, le=MAX_BIGINT)]


_PLACE = msgspec.json.Decoder(PositiveId)


class DeadLetters(msgspec.Struct, frozen=True):
    """A page of dead letters, newest first, and how many there are of these in all."""

    total: int
    dead: list[Letter]
    next: str | None


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which are meant: all that were not replayed, or those of them of which all holds that is given."""

    reason: Annotated[str, msgspec.Meta(pattern=NO_NUL)] = ""
    order: PositiveId | None = None
    since: str | None = None
    until: str | None = None


class Replays(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which are replayed, by `ids` or by `filter`; at most `limit`, the oldest first."""

    ids: Annotated[list[PositiveId], msgspec.Meta(max_length=MAX_REPLAYED)] | None = None
    filter: Filter | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_REPLAYED)] = 1000
    dry_run: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """How many were replayed, how many that are wanted are left, and which are no updates."""

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
        list[Annotated[int, Query(ge=1, le=MAX_BIGINT)]] | None,
        Query(alias="id", max_length=MAX_LISTED, description="These."),
    ] = None,
    reason: Annotated[
        str, Query(pattern=NO_NUL, description="Only with this text in the reason.")
    ] = "",
    order: Annotated[
        int | None, Query(ge=1, le=MAX_BIGINT, description="Only of this order.")
    ] = None,
    since: Annotated[
        str | None, Query(description="Only that died since then: 2h, 3d, ISO 8601.")
    ] = None,
    until: Annotated[str | None, Query(description="Only that died before then.")] = None,
    replayed: Annotated[
        bool | None, Query(description="Only that were replayed, or were not.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED, description="Of a page.")] = 50,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> Response:
    """The updates that were given up, newest first, with the reason of each."""
    wanted = _criteria(Filter(reason, order, since, until), ids or (), replayed)
    before = decode_cursor(cursor, _PLACE)

    def find() -> DeadLetterPage:
        with resources.engine.connect() as connection:
            return list_dead_letters(connection, wanted, limit + 1, before)

    found = await resources.in_thread(find)
    return page_response(
        request, "dead", found.dead, limit, lambda letter: letter.id, total=found.total
    )


@router.post(
    "/dead:replay",
    operation_id="replay_dead_letters",
    dependencies=[Depends(requires(Scope.OPERATE))],
    openapi_extra=request_docs(Replays, {"ids": [9], "dry_run": True}),
    responses=response_docs(
        200,
        "What became of them.",
        Outcome,
        {"dry_run": True, "replayed": 0, "left": 1, "unreadable": []},
    ),
)
async def replay_dead_letters(request: Request, resources: ResourcesDep) -> Response:
    """Hand updates over again that were given up. Mend what they died of first, or they die again.

    An update keeps the version that it had, so it overwrites nothing newer. Those replayed before are
    only replayed by name.
    """
    asked = await read_json(request, Replays)
    if (asked.ids is None) == (asked.filter is None):
        raise Problem(
            ProblemKind.INVALID, "give either ids or a filter; an empty filter is all of them"
        )
    wanted = _criteria(asked.filter or Filter(), asked.ids or ())
    if asked.ids == []:
        return json_response(Outcome(asked.dry_run, 0, 0, []))
    run = resources.blocking.replay(REPLAY_ROOM_WAIT)
    if asked.dry_run:
        done = await resources.in_thread(run.dry_run, wanted)
    else:
        async with _one_replay(resources):
            # Not one of the threads that all others share: it sleeps for most of its time.
            done = await to_thread.run_sync(_replay, run, wanted, asked.limit)
    return json_response(Outcome(asked.dry_run, done.replayed, done.left, done.unreadable))


@asynccontextmanager
async def _one_replay(resources: GatewayResources) -> AsyncIterator[None]:
    """One replay at a time.

    Raises:
        Problem: others took too long.
    """
    try:
        await asyncio.wait_for(resources.replay_lock.acquire(), REPLAY_ROOM_WAIT)
    except TimeoutError:
        raise retry_later(
            ProblemKind.TOO_MANY, "another replay is under way", REPLAY_ROOM_WAIT
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
    """Which letters are meant.

    Raises:
        Problem: a time is none; names the field.
    """
    times = {}
    for name, text in (("since", conditions.since), ("until", conditions.until)):
        try:
            times[name] = None if text is None else parse_moment(text)
        except InvalidInput as error:
            raise Problem(
                ProblemKind.INVALID, f"{name}: {error}", errors=[FieldError(name, str(error))]
            ) from None
    return DeadLetterFilter(
        ids=ids, reason=conditions.reason, order_id=conditions.order, replayed=replayed, **times
    )
