"""Moments as people type them: ISO 8601, or how long ago."""

import re
from datetime import UTC, datetime, timedelta

from orderworks.core.errors import InvalidInput

_AGE = re.compile(r"([0-9]{1,9})\s*(s|min|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str) -> datetime:
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
