"""Accepted updates on their way to a verdict: what came, and what could be read of it."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from orderworks.core.errors import InvalidUpdate
from orderworks.updates.messages import OrderUpdate, Verdict, decode_updates

MAX_REASON_CHARS = 500
"""Characters of a reason that are kept."""


class AcceptedUpdate(msgspec.Struct, kw_only=True, gc=False):
    """What a producer was told is accepted, on its way to a verdict.

    Attributes:
        entry: its place in the order of acceptance.
        tracked: somebody may wait for the verdict.
        attempts: how often it was tried and parked before; 0 for the first time.
        last_attempt: it has been parked for too long to be parked again.
        brought_along: it is parked, and its time has not come; others of its order are tried.
        reason: why it is parked or dead.
    """

    entry: int
    payload: bytes
    tracked: bool = False
    attempts: int = 0
    first_seen: datetime | None = None
    is_last_attempt: bool = False
    retried_early: bool = False
    verdict: Verdict | None = None
    reason: str = ""

    def settle(self, verdict: Verdict, reason: str = "") -> None:
        """Give the verdict. The reason may quote what came from outside: it is made fit to be stored."""
        printable = reason.replace("\0", "\\0").encode("utf-8", "replace").decode()
        self.verdict, self.reason = verdict, printable[:MAX_REASON_CHARS]


class ParsedUpdate(AcceptedUpdate, kw_only=True, gc=False):
    """An accepted update that could be read.

    Attributes:
        version: the producer's own, else the place in the order of acceptance.
    """

    update: OrderUpdate
    version: int


RawEntry = tuple[int, bytes, bool]
"""An accepted update as it arrives: place in the order of acceptance, payload, whether it is tracked."""


def parse_entries(arrivals: Sequence[RawEntry]) -> list[AcceptedUpdate]:
    """Candidates; and where a payload is no update, something dead already, with the reason."""
    updates = decode_updates([payload for _entry, payload, _tracked in arrivals])
    return [
        _parse_entry(*arrival, update) for arrival, update in zip(arrivals, updates, strict=True)
    ]


def _parse_entry(
    entry: int,
    payload: bytes,
    tracked: bool,  # noqa: FBT001 - a column of an arrival
    update: OrderUpdate | InvalidUpdate,
) -> AcceptedUpdate:
    if isinstance(update, InvalidUpdate):
        dead = AcceptedUpdate(entry=entry, payload=payload, tracked=tracked)
        dead.settle(Verdict.DEAD, f"cannot be read: {update}")
        return dead
    version = entry if update.version is None else update.version
    return ParsedUpdate(
        entry=entry, payload=payload, tracked=tracked, update=update, version=version
    )
