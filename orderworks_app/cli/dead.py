"""`orderworks dead`: updates that were given up, listed and replayed."""

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
"""Dead updates that the list has, if nothing else is said."""


def dead(  # noqa: PLR0913 - all that dead updates can be found by
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="ID", help="These; all without any.")
    ] = None,
    *,
    reason: Annotated[str | None, typer.Option(help="Only with this text in the reason.")] = None,
    order: Annotated[int | None, typer.Option(help="Only of this order.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_moment, metavar="TIME", help="Only that died since then: 2h, 3d, ISO."
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(parser=parse_moment, metavar="TIME", help="Only that died before then."),
    ] = None,
    replayed: Annotated[
        bool | None,
        typer.Option("--replayed/--not-replayed", help="Only that were replayed, or were not."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="List so many of the newest; replay so many of the oldest."),
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Hand those that are named over again.")
    ] = False,
    replay_all: Annotated[
        bool,
        typer.Option("--replay-all", help="Hand all over again that the filters leave."),
    ] = False,
    rate: Annotated[
        int, typer.Option(min=1, help="Updates a second that are replayed.")
    ] = DEFAULT_RATE,
    as_json: AsJson = False,
) -> None:
    """List the updates that were given up, newest first, with the reason of each; or replay them.

    `orderworks dead --replay ID…` replays those that are named, `--replay-all` all that were not
    replayed before. An update keeps the version that it had, so it overwrites nothing newer. Mend what
    it died of first, or it dies again.

    Exit status: 0 done; 1 some were not replayed; 2 wrong usage, or no dead update has such an id.
    """
    filters = (reason, order, since, until, replayed, limit)
    _refuse_contradictions(bool(ids), any(each is not None for each in filters), replay, replay_all)
    if replay_all and replayed:
        raise typer.BadParameter("--replay-all leaves out what was replayed: name it by its id")
    wanted = DeadLetterFilter(
        ids=ids or (),
        reason=reason or "",
        order_id=order,
        since=since,
        until=until,
        replayed=replayed,
    )
    if replay or replay_all:
        _replay(wanted, limit, rate, as_json)
    else:
        _list(wanted, limit, as_json)


def _refuse_contradictions(named: bool, filtered: bool, replay: bool, replay_all: bool) -> None:  # noqa: FBT001
    if named and filtered:
        raise typer.BadParameter("give either ids or filters")
    if replay and not named:
        raise typer.BadParameter("--replay needs the ids; --replay-all replays all")
    if replay_all and named:
        raise typer.BadParameter("--replay-all replays all; --replay those that are named")


def _list(criteria: DeadLetterFilter, limit: int | None, as_json: bool) -> None:  # noqa: FBT001
    most = limit or (None if criteria.ids else PAGE_SIZE)
    with make_engine(Settings.load(), "orderworks-cli").connect() as connection:
        found = list_dead_letters(connection, criteria, most)
    if as_json:
        print_json(found)
    elif criteria.ids:
        for letter in found.dead:
            print_letter(letter)
    else:
        print_list(found.dead)
    if len(found.dead) < found.total:
        sys.stderr.write(
            f"orderworks: only the newest {len(found.dead):,} of {found.total:,} are shown\n"
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
                done = run.run(criteria, limit, show)
        except ReplayStopped as stopped:
            _print_replayed(stopped.replayed, stopped.left, [], as_json)
            raise stopped.cause from None
        finally:
            nudges.close()
    _print_replayed(done.replayed, 0, done.unreadable, as_json)
    if done.unreadable:
        raise typer.Exit(FAILED)


def _print_replayed(replayed: int, left: int, unreadable: list[Unreadable], as_json: bool) -> None:  # noqa: FBT001
    document: dict[str, Any] = {"replayed": replayed, "left": left, "unreadable": unreadable}
    print_json(document) if as_json else print_replayed(replayed, left, unreadable)
