"""The windows of days that reports cover.

A window is a number of whole days in UTC, today included, by the day an order was created; `all` covers
every order.
"""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum


class Window(StrEnum):
    """The days that a report covers."""

    ALL = "all"
    YEAR = "365d"
    QUARTER = "90d"
    MONTH = "30d"
    WEEK = "7d"
    DAY = "1d"

    @property
    def days(self) -> int:
        """Return the number of days, today included; 0 without a bound."""
        return 0 if self is Window.ALL else int(self.value.removesuffix("d"))

    def first_day(self, as_of: datetime) -> date:
        """Return the first day of the window at a moment."""
        return date.min if self is Window.ALL else self.first_moment(as_of).date()

    def first_moment(self, as_of: datetime) -> datetime:
        """Return the midnight in UTC at which a bounded window begins."""
        today = as_of.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return today - timedelta(days=self.days - 1)


BOUNDED = tuple(window for window in Window if window is not Window.ALL)
