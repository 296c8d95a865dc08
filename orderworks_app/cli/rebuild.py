"""`orderworks rebuild`: compares the rollups of reports with the orders table and corrects them."""

from typing import Annotated

import typer

from orderworks_app.cli.options import AsJson


def rebuild(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare; exit status 1 if something differs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the rollups of reports with the orders table, and correct rows that differ.

    Writers and refreshes continue meanwhile. It also applies a changed UNCOUNTED_STATUSES, and recounts
    the rollups for it. If it is interrupted, run it again.

    Exit status: 0 the rollups are correct now; 1 some were not corrected, or --check found a difference;
    2 wrong usage.
    """
    from orderworks_app.cli.actions.rebuild import run_rebuild

    run_rebuild(check, as_json)
