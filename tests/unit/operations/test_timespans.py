"""Times and ages as users write them."""

from datetime import UTC, datetime, timedelta

import pytest

from orderworks.core.errors import InvalidInput
from orderworks_app.operations.timespans import parse_moment


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22T19:30", datetime(2026, 11, 22, 19, 30, tzinfo=UTC)),
        (" 2026-11-22T19:30:05+02:00 ", datetime(2026, 11, 22, 17, 30, 5, tzinfo=UTC)),
    ],
)
def test_time_is_read_in_its_zone_or_utc(text: str, meant: datetime) -> None:
    assert parse_moment(text) == meant


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("5 min", timedelta(minutes=5)),
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("1w", timedelta(days=7)),
    ],
)
def test_age_is_subtracted_from_now(text: str, span: timedelta) -> None:
    before = datetime.now(UTC)
    assert before - span <= parse_moment(text) <= datetime.now(UTC) - span


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "2 years", "2026-13-01", "999999999w"])
def test_text_that_is_neither_time_nor_age_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="neither a time"):
        parse_moment(text)
