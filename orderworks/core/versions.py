"""Versions in the order of acceptance: `(milliseconds << 20) + sequence` of a stream entry's id.

An update without a version of its own has that of its stream entry, an import that of the moment when
the whole file was there. Both stand on one scale, so the later one counts.
"""

from datetime import UTC, datetime, timedelta

SEQUENCE_BITS = 20
"""Bits of a version that number the entries of one millisecond."""

EPOCH = datetime.fromtimestamp(0, UTC)


def version_of(entry_id: bytes) -> int:
    """The version of the stream entry with this id, `milliseconds-sequence`."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return (int(milliseconds) << SEQUENCE_BITS) + int(sequence)


def entry_id(version: int) -> str:
    """The id of the stream entry that has this version."""
    return f"{milliseconds_of(version)}-{version & ((1 << SEQUENCE_BITS) - 1)}"


def version_at(moment: datetime) -> int:
    """The lowest version of what is accepted in the millisecond of that moment."""
    return (moment - EPOCH) // timedelta(milliseconds=1) << SEQUENCE_BITS


def milliseconds_of(version: int) -> int:
    """Milliseconds from 1970 to the acceptance of what has this version."""
    return version >> SEQUENCE_BITS


def moment_of(version: int) -> datetime:
    """The moment at which what has this version was accepted, in UTC."""
    return datetime.fromtimestamp(milliseconds_of(version) / 1000, UTC)
