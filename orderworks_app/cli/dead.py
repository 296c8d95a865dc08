"""`orderworks dead`: dead updates, listed and replayed."""

import sys
from contextlib import nullcontext
from datetime import datetime
from typing import Annotated, Any

import typer

from orderworks.core.database import make_engine
from orderworks.core.errors import ReplayStopped
from orderworks.core.redis import make_redis
from orderworks.core.routing import TaskName
from orderworks.core.settings import Settings
from orderworks.updates.dead_letters import DeadLetterFilter, list_dead_letters
from orderworks.updates.replay import DEFAULT_RATE, Replay, Unreadable
from orderworks.updates.stream import UpdateStream
from orderworks_app.cli.dead_views import print_letter, print_list, print_replayed, progress_bar
from orderworks_app.cli.failures import FAILED
from orderworks_app.cli.options import AsJson
from orderworks_app.operations.timespans import parse_moment
from orderworks_app.terminal import print_json
from producer.nudges import Nudges

PAGE_SIZE = 50
"""Dead updates that are listed without `--limit`."""


def dead(  # noqa: PLR0913 - the options of a command
    ids: Annotated[
        list[int] | None,
        typer.Argument(metavar="ID", help="Only dead updates with these ids; without any, all."),
    ] = None,
    *,
    reason: Annotated[
        str | None, typer.Option(help="Only if the reason contains this text.")
    ] = None,
    order: Annotated[int | None, typer.Option(help="Only of this order.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_moment,
            metavar="TIME",
            help="Only if dead-lettered since then: 2h, 3d, or an ISO 8601 time.",
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_moment, metavar="TIME", help="Only if dead-lettered before then."
        ),
    ] = None,
    replayed: Annotated[
        bool | None,
        typer.Option("--replayed/--not-replayed", help="Only if replayed, or not."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="List at most this number, newest first; replay at most this number, oldest first.",
        ),
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Submit the updates with these ids again.")
    ] = False,
    replay_all: Annotated[
        bool,
        typer.Option("--replay-all", help="Submit all updates again that match the filters."),
    ] = False,
    rate: Annotated[
        int, typer.Option(min=1, help="Updates that are replayed each second.")
    ] = DEFAULT_RATE,
    as_json: AsJson = False,
) -> None:
    """List dead updates, newest first, with the reason of each; or replay them.

    A dead update was accepted but could not be applied. `orderworks dead --replay ID…` submits those
    with these ids again, `--replay-all` all that were not replayed before. An update keeps its version,
    so it never overwrites a newer change. Fix the cause first, or the updates will be dead-lettered
    again.

    Exit status: 0 done; 1 some were not replayed; 2 wrong usage, or no dead update has such an id.
    """
    filters = (reason, order, since, until, replayed, limit)
    _refuse_contradictions(bool(ids), any(each is not None for each in filters), replay, replay_all)
    if replay_all and replayed:
        raise typer.BadParameter(
            "--replay-all excludes replayed updates: use --replay with their ids"
        )
    criteria = DeadLetterFilter(
        ids=ids or (),
        reason=reason or "",
        order_id=order,
        since=since,
        until=until,
        replayed=replayed,
    )
    if replay or replay_all:
        _replay(criteria, limit, rate, as_json)
    else:
        _list(criteria, limit, as_json)


def _refuse_contradictions(named: bool, filtered: bool, replay: bool, replay_all: bool) -> None:  # noqa: FBT001
    if named and filtered:
        raise typer.BadParameter("give either ids or filters, not both")
    if replay and not named:
        raise typer.BadParameter("--replay needs ids; --replay-all replays all")
    if replay_all and named:
        raise typer.BadParameter("--replay-all takes no ids; use --replay with ids")


def _list(criteria: DeadLetterFilter, limit: int | None, as_json: bool) -> None:  # noqa: FBT001
    max_letters = limit or (None if criteria.ids else PAGE_SIZE)
    with make_engine(Settings.load(), "orderworks-cli").connect() as connection:
        page = list_dead_letters(connection, criteria, max_letters)
    if as_json:
        print_json(page)
    elif criteria.ids:
        for letter in page.dead:
            print_letter(letter)
    else:
        print_list(page.dead)
    if len(page.dead) < page.total:
        sys.stderr.write(
            f"orderworks: showing only the newest {len(page.dead):,} of {page.total:,}; see --limit\n"
        )


def _replay(criteria: DeadLetterFilter, limit: int | None, rate: int, as_json: bool) -> None:  # noqa: FBT001
    settings = Settings.load()
    nudges = Nudges(settings.broker)
    with make_redis(settings.stream, settings.redis_timeout) as client:
        run = Replay(
            make_engine(settings, "orderworks-cli"),
            UpdateStream(client, settings.update_shards, settings.stream_limit),
            lambda shard: nudges.send(TaskName.DRAIN_UPDATES, shard),
            rate=rate,
        )
        try:
            with nullcontext(lambda _done, _of: None) if as_json else progress_bar() as show:
                result = run.run(criteria, limit, show)
        except ReplayStopped as stopped:
            _print_replayed(stopped.replayed, stopped.left, [], as_json)
            raise stopped.cause from None
        finally:
            nudges.close()
    _print_replayed(result.replayed, 0, result.unreadable, as_json)
    if result.unreadable:
        raise typer.Exit(FAILED)


def _print_replayed(replayed: int, left: int, unreadable: list[Unreadable], as_json: bool) -> None:  # noqa: FBT001
    document: dict[str, Any] = {"replayed": replayed, "left": left, "unreadable": unreadable}
    print_json(document) if as_json else print_replayed(replayed, left, unreadable)
