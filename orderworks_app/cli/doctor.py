"""`orderworks doctor`: finds settings that can lose data or stop the work, before they do."""

import typer

from orderworks.core.settings import Settings
from orderworks_app.cli.failures import FAILED
from orderworks_app.terminal import console, table


def doctor() -> None:
    """Check the servers' settings and this configuration, with a remedy for each problem found.

    Exit status: 0 no problem; 1 some check failed, or a server is unavailable; 2 wrong configuration.
    """
    # It imports celeryconfig, which needs the broker's address at its import.
    from orderworks_app.observability.doctor import run_checks  # noqa: PLC0415 - see above

    findings = run_checks(Settings.load())
    lines = table("", "check", "found", "remedy")
    for finding in findings:
        sign = "[green]✓[/]" if finding.ok else "[red]✗[/]"
        lines.add_row(sign, finding.check, finding.observed, "" if finding.ok else finding.remedy)
    console.print(lines)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(FAILED)
