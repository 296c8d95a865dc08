"""`orderworks pause`, `resume`, `cancel` and `retry`: what can be done to an import under way."""

from typing import Annotated

import typer

from orderworks_app.cli.import_views import print_summary
from orderworks_app.cli.options import AsJson
from orderworks_app.operations.imports import Imports, Steer
from orderworks_app.terminal import print_json

ImportIdArgument = Annotated[
    str, typer.Argument(help="The import, by its id in `orderworks imports`.")
]


def pause(import_id: ImportIdArgument, *, as_json: AsJson = False) -> None:
    """Let workers start no further chunk of a running import.

    Chunks that are being loaded are loaded to their end. `orderworks resume` goes on with the rest, and
    the file is kept until then.
    """
    _apply_action(import_id, Steer.PAUSE, as_json)


def resume(import_id: ImportIdArgument, *, as_json: AsJson = False) -> None:
    """Let a paused import go on."""
    _apply_action(import_id, Steer.RESUME, as_json)


def cancel(import_id: ImportIdArgument, *, as_json: AsJson = False) -> None:
    """End a running or paused import before its time; it cannot be resumed.

    What is loaded stays loaded. Chunks that are being loaded are loaded to their end.
    """
    _apply_action(import_id, Steer.CANCEL, as_json)


def retry(import_id: ImportIdArgument, *, as_json: AsJson = False) -> None:
    """Start those chunks of an import again that were given up.

    For when what was in their way is mended: a constraint of the database, a host without the spool.
    """
    _apply_action(import_id, Steer.RETRY, as_json)


def _apply_action(import_id: str, steer: Steer, as_json: bool) -> None:  # noqa: FBT001 - how to show it
    with Imports.from_environment() as imports:
        summary = imports.steer(import_id, steer)
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)
