"""`orderworks pause`, `resume`, `cancel` and `retry`: control of an import."""

from typing import Annotated

import typer

from orderworks_app.cli.options import AsJson
from orderworks_app.operations.import_choices import Steer

ImportIdArgument = Annotated[
    str, typer.Argument(help="Id of the import, as in `orderworks imports`.")
]


def pause(import_id: ImportIdArgument, *, as_json: AsJson = False) -> None:
    """Pause a running import: workers start no further chunk of it.

    Chunks that are being loaded are finished. The file is kept; `orderworks resume` continues with the
    rest.
    """
    _apply_action(import_id, Steer.PAUSE, as_json)


def resume(import_id: ImportIdArgument, *, as_json: AsJson = False) -> None:
    """Resume a paused import."""
    _apply_action(import_id, Steer.RESUME, as_json)


def cancel(import_id: ImportIdArgument, *, as_json: AsJson = False) -> None:
    """Cancel a running or paused import; it cannot be resumed.

    Rows that are applied stay applied. Chunks that are being loaded are finished.
    """
    _apply_action(import_id, Steer.CANCEL, as_json)


def retry(import_id: ImportIdArgument, *, as_json: AsJson = False) -> None:
    """Start the quarantined chunks of an import again.

    First remove the cause of their failure, such as a constraint of the database or a host without the
    spool.
    """
    _apply_action(import_id, Steer.RETRY, as_json)


def _apply_action(import_id: str, steer: Steer, as_json: bool) -> None:  # noqa: FBT001 - the output format
    from orderworks_app.cli.actions.import_views import print_summary
    from orderworks_app.operations.imports import Imports
    from orderworks_app.terminal import print_json

    with Imports.from_environment() as imports:
        summary = imports.steer(import_id, steer)
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)
