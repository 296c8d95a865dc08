"""Dead updates: lists and replays them."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any

import typer

from orderworks.core.database import make_engine
from orderworks.core.errors import ReplayStopped
from orderworks.core.redis import make_redis
from orderworks.core.routing import TaskName
from orderworks.core.settings import Settings
from orderworks.updates.dead_letters import DeadLetterFilter, list_dead_letters
from orderworks.updates.replay import Replay, Unreadable
from orderworks.updates.stream import UpdateStream
from orderworks_app.cli.actions.dead_views import (
    print_letter,
    print_list,
    print_replayed,
    progress_bar,
)
from orderworks_app.cli.failures import FAILED
from orderworks_app.terminal import print_json, print_sentence
from producer.nudges import Nudges

PAGE_SIZE = 50
"""Dead updates that are listed without `--limit`."""


def make_filter(
    ids: Sequence[int] | None,
    reason: str | None,
    order: int | None,
    since: datetime | None,
    until: datetime | None,
    replayed: bool | None,  # noqa: FBT001 - likewise
) -> DeadLetterFilter:
    """Return the filter that the options of the command give."""
    return DeadLetterFilter(
        ids=ids or (),
        reason=reason or "",
        order_id=order,
        since=since,
        until=until,
        replayed=replayed,
    )


def list_letters(criteria: DeadLetterFilter, limit: int | None, as_json: bool) -> None:  # noqa: FBT001
    """Print the dead updates that match, newest first."""
    max_letters = limit or (None if criteria.ids else PAGE_SIZE)
    with make_engine(Settings.load(), "orderworks-cli").connect() as connection:
        page = list_dead_letters(connection, criteria, max_letters)
    if as_json:
        print_json(page)
    elif criteria.ids:
        for letter in page.dead:
            print_letter(letter)
    elif page.dead:
        print_list(page.dead)
    else:
        print_sentence(f"No dead updates{' match the filters' if criteria.conditions() else ''}.")
    if len(page.dead) < page.total:
        sys.stderr.write(
            f"orderworks: showing only the newest {len(page.dead):,} of {page.total:,}; see --limit\n"
        )


def replay_letters(criteria: DeadLetterFilter, limit: int | None, rate: int, as_json: bool) -> None:  # noqa: FBT001
    """Replay the dead updates that match, oldest first, and print the result.

    Raises:
        typer.Exit: some cannot be read.
    """
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
