"""The checks of `doctor`: runs and prints them."""

import typer

from orderworks.core.settings import Settings
from orderworks_app.cli.failures import FAILED
from orderworks_app.observability.doctor import run_checks
from orderworks_app.terminal import Column, escaped, print_table


def run_doctor() -> None:
    """Run all checks and print what they find.

    Raises:
        typer.Exit: some check failed.
    """
    findings = run_checks(Settings.load())
    rows = [
        (
            "[green]✓[/]" if each.ok else "[red]✗[/]",
            each.check,
            escaped(each.observed),
            "" if each.ok else escaped(each.remedy),
        )
        for each in findings
    ]
    columns = (Column(""), Column("check"), Column("found", least=16), Column("remedy", least=16))
    print_table(columns, rows)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(FAILED)
