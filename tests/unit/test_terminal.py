"""External text is printed as plain text, without effects on the terminal."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from rich.console import Console
from rich.text import Text

from orderworks.reports.top_customers import Report, TopCustomer
from orderworks.reports.windows import Window
from orderworks_app.cli.actions.reports import print_report
from orderworks_app.terminal import escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ünal & Söhne", "Ünal & Söhne"),
        ("山田\u3000太郎", "山田\u3000太郎"),
        ("👩\u200d👧 a\u200cb", "👩\u200d👧 a\u200cb"),
        ("[red]Red[/red] [/]", "[red]Red[/red] [/]"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x9b31mred\x7f", r"\x9b31mred\x7f"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\u202egnp.exe\u2069\u2028", r"\u202egnp.exe\u2069\u2028"),
        ("\ud800", r"\ud800"),
    ],
)
def test_external_text_contains_no_markup_or_control_codes(text: str, shown: str) -> None:
    found = Text.from_markup(escaped(text))
    assert found.plain == shown
    assert not found.spans


def test_multiline_name_stays_in_one_report_line(capsys: pytest.CaptureFixture[str]) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=20)
    row = TopCustomer(7, "\x1b[2J[bold]Eve\n", 1, Decimal("2.00"))
    print_report(Report(Window.ALL, soon, "1:1:", 0.1, [row], complete=True))
    _head, line, age = capsys.readouterr().out.splitlines()
    assert line.split()[:3] == ["7", r"\x1b[2J[bold]Eve\n", "1"]
    assert "as of 0 s ago" in age


@pytest.mark.parametrize("width", [40, 60, 200])
def test_bars_are_proportional_at_any_terminal_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "orderworks_app.cli.actions.reports.console", Console(highlight=False, width=width)
    )
    rows = [TopCustomer(1, "x" * 500, 1, Decimal(100)), TopCustomer(2, "y", 1, Decimal(50))]
    print_report(Report(Window.ALL, datetime.now(UTC), "1:1:", 0.1, rows, complete=True))
    _head, longest, half, _age = capsys.readouterr().out.splitlines()
    assert half.count("█") == longest.count("█") // 2 > 0


def test_report_without_customers_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(Report(Window.ALL, datetime.now(UTC), "1:1:", 0.1, [], complete=True))
    sentence, age = capsys.readouterr().out.splitlines()
    assert sentence == "No customers with such orders."
    assert age.startswith("window all, as of")
