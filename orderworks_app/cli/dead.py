"""`orderworks dead`: dead updates, listed and replayed."""

from datetime import datetime
from typing import Annotated

import typer

from orderworks.updates.replay_rate import DEFAULT_RATE
from orderworks_app.cli.options import AsJson
from orderworks_app.operations.timespans import parse_moment


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
    from orderworks_app.cli.actions.dead import list_letters, make_filter, replay_letters

    filters = (reason, order, since, until, replayed, limit)
    _refuse_contradictions(bool(ids), any(each is not None for each in filters), replay, replay_all)
    if replay_all and replayed:
        raise typer.BadParameter(
            "--replay-all excludes replayed updates: use --replay with their ids"
        )
    criteria = make_filter(ids, reason, order, since, until, replayed)
    if replay or replay_all:
        replay_letters(criteria, limit, rate, as_json)
    else:
        list_letters(criteria, limit, as_json)


def _refuse_contradictions(named: bool, filtered: bool, replay: bool, replay_all: bool) -> None:  # noqa: FBT001
    if named and filtered:
        raise typer.BadParameter("give either ids or filters, not both")
    if replay and not named:
        raise typer.BadParameter("--replay needs ids; --replay-all replays all")
    if replay_all and named:
        raise typer.BadParameter("--replay-all takes no ids; use --replay with ids")
