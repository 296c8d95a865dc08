"""`orderworks pause`, `resume`, `cancel` and `retry`: what can be done to an import under way."""

from typing import Annotated

import typer

from orders.database import make_engine
from orders.errors import ImportNotFound
from orders.imports import control
from orders.imports.progress import Summary
from orders.names import TaskName
from orders.redis import make_redis
from orders.settings import Settings
from orderworks.cli.import_lookup import AsJson, not_in_ledger
from orderworks.cli.import_views import print_summary
from orderworks.cli.output import print_json
from producer.nudges import Nudges

ImportId = Annotated[str, typer.Argument(help="The import, by its id in `orderworks imports`.")]


def pause(import_id: ImportId, *, as_json: AsJson = False) -> None:
    """Let workers start no further chunk of a running import.

    Chunks that are being loaded are loaded to their end. `orderworks resume` goes on with the rest, and
    the file is kept until then.
    """
    _show(_carried_out(control.pause, import_id), as_json)


def resume(import_id: ImportId, *, as_json: AsJson = False) -> None:
    """Let a paused import go on."""
    summary = _carried_out(control.resume, import_id)
    _nudge(import_id)
    _show(summary, as_json)


def cancel(import_id: ImportId, *, as_json: AsJson = False) -> None:
    """End a running or paused import before its time; it cannot be resumed.

    What is loaded stays loaded. Chunks that are being loaded are loaded to their end.
    """
    _show(_carried_out(control.cancel, import_id), as_json)


def retry(import_id: ImportId, *, as_json: AsJson = False) -> None:
    """Start those chunks of an import again that were given up.

    For when what was in their way is mended: a constraint of the database, a host without the spool.
    """
    summary = _carried_out(control.retry, import_id)
    settings = Settings.load()
    with make_redis(settings.stream, settings.redis_timeout) as stream:
        control.forget_forgiven(stream, import_id)
    _nudge(import_id)
    _show(summary, as_json)


def _carried_out(change: control.Change, import_id: str) -> Summary:
    settings = Settings.load()
    engine = make_engine(settings, "orderworks-cli")
    with make_redis(settings.stream, settings.redis_timeout) as stream:
        try:
            return control.carry_out(engine, stream, change, import_id)
        except ImportNotFound:
            raise not_in_ledger(stream, import_id) from None


def _nudge(import_id: str) -> None:
    """Ask for the chunks that are not done. A nudge that is lost is made up for by the sweep."""
    nudges = Nudges(Settings.load().broker)
    nudges.send(TaskName.PLAN_IMPORT, import_id)
    nudges.close()


def _show(summary: Summary, as_json: bool) -> None:  # noqa: FBT001 - how to show it
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)
