"""Times and durations as users write and read them: ISO 8601, an age such as `2h`, `3 min`."""

import re
from datetime import UTC, datetime, timedelta

from orderworks.core.errors import InvalidInput

_AGE = re.compile(r"([0-9]{1,9})\s*(s|min|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_moment(text: str) -> datetime:
    """The time that `2026-11-22T19:00`, `2h` (ago) or `3d` means; in UTC without a time zone.

    Raises:
        InvalidInput: the text is neither a time nor an age.
    """
    age = _AGE.fullmatch(text.strip())
    try:
        if age:
            return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
        moment = datetime.fromisoformat(text.strip())
        # At the ends of the calendar some times of other zones have no equivalent in UTC.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"{text!r} is neither a time such as 2026-11-22T19:00 nor an age such as 2h or 3d"
        ) from None


def format_span(seconds: float) -> str:
    """`3 s`, `2 min`, `5 h`, `4 d`: in the largest unit that gives at least two."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
