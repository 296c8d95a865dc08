"""The table of `up` on a terminal."""

import io
from pathlib import Path

from rich.console import Console

from orderworks_app.embedded import health
from orderworks_app.embedded.service import Service, StartStage
from orderworks_app.embedded.service_runner import ServiceRunner, ServiceState
from orderworks_app.embedded.views import TableView


def test_line_above_the_table_keeps_its_colours_and_is_no_markup(tmp_path: Path) -> None:
    service = Service("beat", StartStage.SERVICES, ("true",), "", health.never, {}, tmp_path)
    runner = ServiceRunner(service, tmp_path, lambda _runner: None)
    runner.state = ServiceState.READY
    terminal = io.StringIO()
    with TableView(Console(file=terminal, force_terminal=True, width=100)) as view:
        view.tick([runner])
        view.print_line("see /a/[bold]/b")
    assert "see /a/[bold]/b" in terminal.getvalue()
    assert "[green]" not in terminal.getvalue()
