"""`orderworks status`: the health of every part, and the work that waits."""

from typing import Annotated

import typer

from orderworks_app.cli.options import AsJson


def status(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Read and show it again every 2 s, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the health of every part, and the work that waits. Exit status 0 only if all are healthy.

    With --watch, the exit status is that of what was shown last.
    """
    from orderworks_app.cli.actions.status import show_status, watch_status

    if watch and as_json:
        raise typer.BadParameter("give either --watch or --json, not both")
    if watch:
        watch_status()
    else:
        show_status(as_json)
