"""`orderworks status`: the health of every part, and the work that waits."""

from orderworks_app.cli.options import AsJson


def status(
    *,
    as_json: AsJson = False,
) -> None:
    """Show the health of every part, and the work that waits. Exit status 0 only if all are healthy."""
    from orderworks_app.cli.actions.status import show_status

    show_status(as_json)
