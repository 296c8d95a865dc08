"""The checks of `doctor`: runs and prints them."""

import typer

from orderworks.core.settings import Settings
from orderworks_app.cli.failures import FAILED
from orderworks_app.observability.doctor import run_checks
from orderworks_app.terminal import console, table


def run_doctor() -> None:
    """Run all checks and print what they find.

    Raises:
        typer.Exit: some check failed.
    """
    findings = run_checks(Settings.load())
    lines = table("", "check", "found", "remedy")
    for finding in findings:
        sign = "[green]✓[/]" if finding.ok else "[red]✗[/]"
        lines.add_row(sign, finding.check, finding.observed, "" if finding.ok else finding.remedy)
    console.print(lines)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(FAILED)
