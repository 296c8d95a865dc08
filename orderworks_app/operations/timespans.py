"""Moments and spans of time as people type and read them: ISO 8601, `2h` ago, `3 min`."""

import re
from datetime import UTC, datetime, timedelta

from orderworks.core.errors import InvalidInput

_AGE = re.compile(r"([0-9]{1,9})\s*(s|min|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_moment(text: str) -> datetime:
    """The moment that `2026-11-22T19:00`, `2h` or `3d` means; in UTC where it names no zone.

    Raises:
        InvalidInput: it is neither a moment nor an age.
    """
    age = _AGE.fullmatch(text.strip())
    try:
        if age:
            return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
        named = datetime.fromisoformat(text.strip())
        # Towards the ends of the calendar there are times of other zones that UTC has not.
        return named.astimezone(UTC) if named.tzinfo else named.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"{text!r} is neither a time such as 2026-11-22T19:00 nor an age such as 2h or 3d"
        ) from None


def format_span(seconds: float) -> str:
    """`3 s`, `2 min`, `5 h`, `4 d`: in the largest unit of which there are two."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
