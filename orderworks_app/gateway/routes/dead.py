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
from orderworks.updates.dead_letters import Found, Letter, Wanted, find_dead
from orderworks.updates.replay import Replay, Replayed, Unreadable
from orderworks_app.gateway.dependencies.authorize import Scope, allowed
from orderworks_app.gateway.http.openapi import gives, takes
from orderworks_app.gateway.http.pagination import page, place_of
from orderworks_app.gateway.http.problems import FieldError, Kind, Problem, problem_of, try_again
from orderworks_app.gateway.http.query_params import NO_NUL
from orderworks_app.gateway.http.responses import answer, read_json
from orderworks_app.gateway.resources import State, state_of
from orderworks_app.operations.timespans import moment

router = APIRouter(prefix="/v1", tags=["dead letters"])

MOST_LISTED = 1000

MOST_REPLAYED = 10_000
"""Of one request: at the pace of a replay, some ten seconds."""

PATIENCE = 10.0
"""Seconds that a full stream is given to get room, and other replays to end."""

Here = Annotated[State, Depends(state_of)]
Id = Annotated[int, msgspec.Meta(ge=1, le=MAX_BIGINT)]


_PLACE = msgspec.json.Decoder(Id)


class DeadLetters(msgspec.Struct, frozen=True):
    """A page of dead letters, newest first, and how many there are of these in all."""

    total: int
    dead: list[Letter]
    next: str | None


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which are meant: all that were not replayed, or those of them of which all holds that is given."""

    reason: Annotated[str, msgspec.Meta(pattern=NO_NUL)] = ""
    order: Id | None = None
    since: str | None = None
    until: str | None = None


class Replays(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which are replayed, by `ids` or by `filter`; at most `limit`, the oldest first."""

    ids: Annotated[list[Id], msgspec.Meta(max_length=MOST_REPLAYED)] | None = None
    filter: Filter | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_REPLAYED)] = 1000
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
    dependencies=[Depends(allowed(Scope.READ))],
    responses=gives(
        200, "A page of them.", DeadLetters, {"total": 1, "dead": [LETTER], "next": None}
    ),
)
async def dead_letters(  # noqa: PLR0913, PLR0917 - all that dead updates can be found by
    request: Request,
    state: Here,
    ids: Annotated[
        list[Annotated[int, Query(ge=1, le=MAX_BIGINT)]] | None,
        Query(alias="id", max_length=MOST_LISTED, description="These."),
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
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED, description="Of a page.")] = 50,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> Response:
    """The updates that were given up, newest first, with the reason of each."""
    wanted = _wanted(Filter(reason, order, since, until), ids or (), replayed)
    before = place_of(cursor, _PLACE)

    def find() -> Found:
        with state.engine.connect() as connection:
            return find_dead(connection, wanted, limit + 1, before)

    found = await state.in_thread(find)
    return page(request, "dead", found.dead, limit, lambda letter: letter.id, total=found.total)


@router.post(
    "/dead:replay",
    operation_id="replay_dead_letters",
    dependencies=[Depends(allowed(Scope.OPERATE))],
    openapi_extra=takes(Replays, {"ids": [9], "dry_run": True}),
    responses=gives(
        200,
        "What became of them.",
        Outcome,
        {"dry_run": True, "replayed": 0, "left": 1, "unreadable": []},
    ),
)
async def replay_dead_letters(request: Request, state: Here) -> Response:
    """Hand updates over again that were given up. Mend what they died of first, or they die again.

    An update keeps the version that it had, so it overwrites nothing newer. Those replayed before are
    only replayed by name.
    """
    asked = await read_json(request, Replays)
    if (asked.ids is None) == (asked.filter is None):
        raise Problem(Kind.INVALID, "give either ids or a filter; an empty filter is all of them")
    wanted = _wanted(asked.filter or Filter(), asked.ids or ())
    if asked.ids == []:
        return answer(Outcome(asked.dry_run, 0, 0, []))
    run = state.blocking.replay(PATIENCE)
    if asked.dry_run:
        done = await state.in_thread(run.rehearse, wanted)
    else:
        async with _turn(state):
            # Not one of the threads that all others share: it sleeps for most of its time.
            done = await to_thread.run_sync(_replay, run, wanted, asked.limit)
    return answer(Outcome(asked.dry_run, done.replayed, done.left, done.unreadable))


@asynccontextmanager
async def _turn(state: State) -> AsyncIterator[None]:
    """One replay at a time.

    Raises:
        Problem: others took too long.
    """
    try:
        await asyncio.wait_for(state.replaying.acquire(), PATIENCE)
    except TimeoutError:
        raise try_again(Kind.TOO_MANY, "another replay is under way", PATIENCE) from None
    try:
        yield
    finally:
        state.replaying.release()


def _replay(run: Replay, wanted: Wanted, limit: int) -> Replayed:
    try:
        return run.run(wanted, limit)
    except ReplayStopped as stopped:
        problem = problem_of(stopped.cause)
        more: dict[str, Any] = {"replayed": stopped.replayed, "left": stopped.left}
        raise Problem(
            problem.kind, str(stopped), headers=problem.headers, more=more
        ) from stopped.cause


def _wanted(given: Filter, ids: "list[int] | tuple[()]", replayed: bool | None = None) -> Wanted:  # noqa: FBT001
    """Which letters are meant.

    Raises:
        Problem: a time is none; names the field.
    """
    times = {}
    for name, text in (("since", given.since), ("until", given.until)):
        try:
            times[name] = None if text is None else moment(text)
        except InvalidInput as error:
            raise Problem(
                Kind.INVALID, f"{name}: {error}", errors=[FieldError(name, str(error))]
            ) from None
    return Wanted(ids=ids, reason=given.reason, order_id=given.order, replayed=replayed, **times)
