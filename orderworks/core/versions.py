"""Versions in the order of acceptance: `(milliseconds << 20) + sequence` of a stream entry's id.

An update without its own version has that of its stream entry; an import has that of the moment at which
its file was complete. Both are on one scale, and so is a version that is given as a moment: the later
write wins.
"""

from datetime import UTC, datetime, timedelta

from orderworks.core.bounds import MAX_BIGINT

SEQUENCE_BITS = 20
"""Bits of a version that number the entries of one millisecond."""

FIRST_BY_ACCEPTANCE = 1 << 60
"""The version of a moment in 2004. Lower ones are counters of the application's own."""

VERSION_MOMENTS = "between 1970-01-01 and 2248-09-26"
"""The moments that have a version."""

MAX_ID_PART = (1 << 64) - 1
"""The highest number in either part of a stream entry's id."""

EPOCH = datetime.fromtimestamp(0, UTC)


def version_of(entry_id: bytes) -> int:
    """Return the version of the stream entry with this id, `milliseconds-sequence`."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return (int(milliseconds) << SEQUENCE_BITS) + int(sequence)


def entry_id(version: int) -> str:
    """Return the id of the stream entry that has this version."""
    return f"{milliseconds_of(version)}-{version & ((1 << SEQUENCE_BITS) - 1)}"


def next_entry_id(entry_id: bytes) -> str:
    """Return the lowest id that is higher; the same one if it is the highest."""
    milliseconds, sequence = map(int, entry_id.split(b"-"))
    if sequence < MAX_ID_PART:
        return f"{milliseconds}-{sequence + 1}"
    return f"{milliseconds + 1}-0" if milliseconds < MAX_ID_PART else f"{milliseconds}-{sequence}"


def version_at(moment: datetime) -> int:
    """Return the version of this moment, to the microsecond. The moment has a time zone."""
    return ((moment - EPOCH) // timedelta(microseconds=1) << SEQUENCE_BITS) // 1000


def has_version(moment: datetime) -> bool:
    """Return whether a version can be that of this moment: see `VERSION_MOMENTS`."""
    return 0 <= version_at(moment) <= MAX_BIGINT


def milliseconds_of(version: int) -> int:
    """Return the time at which the write with this version was accepted, in Unix milliseconds."""
    return version >> SEQUENCE_BITS


def moment_of(version: int) -> datetime:
    """Return the time at which the write with this version was accepted, in UTC."""
    return datetime.fromtimestamp(milliseconds_of(version) / 1000, UTC)


def is_by_acceptance(version: int) -> bool:
    """Return whether the version is a moment on the scale of acceptance, and not a counter."""
    return version >= FIRST_BY_ACCEPTANCE
