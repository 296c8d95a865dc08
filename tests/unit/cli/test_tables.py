"""Tables of commands in terminals of every width: ids and numbers are whole."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from orderworks.updates.dead_letters import Letter
from orderworks_app.cli.actions import dead_views, import_views
from orderworks_app.cli.actions.beat import print_entries
from orderworks_app.cli.actions.status import print_status
from orderworks_app.observability.status import Part, Status
from orderworks_app.terminal import Column, print_table
from worker.beat.entries import BeatEntry

WRAPPED_BY_TERMINAL = 200
"""The longest line where each cell has a line of its own."""

NOW = datetime.now(UTC)

IMPORTS = [
    {
        "id": f"2026120{day}-031500-1a2b3c4d",
        "kind": "customers",
        "source": "exports/2026/12/customers-of-all-shops.csv.gz",
        "status": "cancelled",
        "rows": 300_000_000 + day,
        "applied": 299_000_000 + day,
        "unchanged": 900_000,
        "stale": 0,
        "superseded": 0,
        "rejected": 100_000,
    }
    for day in (1, 2)
]

LETTERS = [
    Letter(
        id=123_456,
        order_id=9_007_199_254_740_993,
        version=None,
        reason="the order is unknown, and the update has neither a customer nor a total",
        payload='{"order_id":9007199254740993,"status":"paid"}',
        shard=0,
        entry="1795375608079-0",
        accepted_at=NOW,
        first_seen=NOW,
        died_at=NOW - timedelta(days=3),
        attempts=31,
        replayed_at=None,
    )
]

ENTRY = BeatEntry(
    entry="refresh-top-customers",
    task="tasks.reports.refresh_top_customers",
    every=60.0,
    configured=30.0,
    paused=False,
    runs=7,
    since=NOW,
    slot_at=None,
    succeeded_at=NOW,
    failed_at=None,
    error=None,
    alive_at=NOW,
    silence=0.0,
    due_in=20.0,
)

PARTS = [
    Part("queue updates", healthy=True, detail="updates@a-host-with-a-long-name.example, " * 3),
    Part("beat refresh-top-customers", healthy=False, detail="no success yet, every 30 s"),
]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """The console of the commands, as wide as the test states."""
    monkeypatch.setattr("orderworks_app.terminal.console", Console(highlight=False, width=width))


def shown(capsys: pytest.CaptureFixture[str], width: int) -> str:
    """Return what was printed: nothing is cut, and no line is wider than the terminal."""
    printed = capsys.readouterr().out
    assert "…" not in printed
    table = printed.partition("\nNot shown")[0]
    assert max(map(len, table.splitlines())) <= width
    return printed


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_ids_and_numbers_of_imports_are_whole(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    import_views.print_list(IMPORTS)
    printed = shown(capsys, WRAPPED_BY_TERMINAL if width == 40 else width)
    for each in IMPORTS:
        assert str(each["id"]) in printed
        assert f"{each['rows']:,}" in printed
        assert str(each["status"]) in printed


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_ids_of_dead_updates_are_whole(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    dead_views.print_list(LETTERS)
    printed = shown(capsys, WRAPPED_BY_TERMINAL if width == 30 else width)
    assert "123456" in printed
    assert "9007199254740993" in printed
    assert "unknown" in printed


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("width", [60, 80])
def test_names_of_entries_and_parts_are_whole(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    print_entries([ENTRY])
    assert "refresh-top-customers" in shown(capsys, width)
    print_status(Status(False, PARTS, {}, {}, {}, {}))
    printed = shown(capsys, width)
    assert "✗  beat refresh-top-customers" in printed
    assert "updates@a-host-with-a-long-name.example" in "".join(printed.split())


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("width", [80])
def test_columns_without_values_are_omitted_first_and_named(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    import_views.print_list(IMPORTS)
    head, *_rows, note = shown(capsys, width).splitlines()
    assert "rejected" in head
    assert "stale" not in head
    assert note.startswith("Not shown, because the terminal is narrow: ")
    assert "stale" in note


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("width", [20])
def test_table_without_room_has_a_line_for_each_cell(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = (Column("id"), Column("rows", right=True), Column("source", least=8))
    print_table(columns, [("20261201-1a2b3c4d", "1,000", "a.csv"), ("20261202-1a2b3c4d", "2", "b")])
    assert capsys.readouterr().out.splitlines() == [
        "id:     20261201-1a2b3c4d",
        "rows:   1,000",
        "source: a.csv",
        "",
        "id:     20261202-1a2b3c4d",
        "rows:   2",
        "source: b",
    ]


def test_pipe_gets_all_columns_whatever_the_width_of_the_terminal() -> None:
    program = "from orderworks_app.terminal import console; print(console.width)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "COLUMNS": "60"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert int(done.stdout) == 200
