"""The progress of an import as a line: sizes in a unit that fits, and no rate that is a guess."""

from typing import Any

import pytest

from orderworks_app.cli.actions.import_views import progress_line

SUMMARY: dict[str, Any] = {
    "status": "running",
    "rows": 2000,
    "applied": 1000,
    "unchanged": 0,
    "stale": 0,
    "superseded": 0,
    "rejected": 0,
    "bytes": 4_200_000,
    "bytes_done": 2_100_000,
    "chunks": 4,
    "chunks_done": 2,
    "quarantined": 0,
    "rows_per_second": None,
    "eta_seconds": None,
}


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [
        (0, 300, "0.0 of 0.3 kB"),
        (60_000, 123_456, "60.0 of 123.5 kB"),
        (500_000, 1_000_000, "0.5 of 1.0 MB"),
    ],
)
def test_small_files_are_measured_in_kilobytes(done: int, total: int, shown: str) -> None:
    assert shown in progress_line({**SUMMARY, "bytes_done": done, "bytes": total})


@pytest.mark.parametrize(
    ("rate", "status", "shown"),
    [
        (1000.0, "running", True),
        (1001.0, "running", False),
        (2_000_000.0, "done", False),
        (500.0, "done", True),
        (500.0, "failed", False),
        (None, "running", False),
    ],
)
def test_rate_is_shown_after_a_second_of_loading(
    rate: float | None, status: str, *, shown: bool
) -> None:
    line = progress_line({**SUMMARY, "rows_per_second": rate, "status": status})
    assert ("rows/s" in line) is shown
