"""`orderworks doctor`: settings that are known to lose data or to stop the work, before they do."""

import typer

from orderworks.core.settings import Settings
from orderworks_app.cli.failures import FAILED
from orderworks_app.terminal import console, table


def doctor() -> None:
    """Look for set-ups that are known to go wrong, and say what to do about each."""
    # It reads Celery's table, which has to know the broker as soon as it is imported.
    from orderworks_app.observability.doctor import run_checks  # noqa: PLC0415 - as said

    findings = run_checks(Settings.load())
    lines = table("", "check", "found", "do")
    for finding in findings:
        sign = "[green]✓[/]" if finding.ok else "[red]✗[/]"
        lines.add_row(sign, finding.check, finding.observed, "" if finding.ok else finding.remedy)
    console.print(lines)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(FAILED)
