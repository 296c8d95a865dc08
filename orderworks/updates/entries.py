"""Accepted updates before and after they are parsed, with the verdicts that a drain gives them."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import cast

import msgspec

from orderworks.core.errors import InvalidUpdate
from orderworks.core.lock_holders import LockHolder
from orderworks.updates.messages import OrderUpdate, Verdict, decode_updates

MAX_REASON_CHARS = 500
"""Characters of a reason that are kept."""


class Cause(StrEnum):
    """The reason for which an update is parked.

    UNKNOWN: its order or customer does not exist.
    LOCK: another session holds a lock of the order, or of the customer.
    ERROR: an error that may pass; such an update is tried alone.
    """

    UNKNOWN = "unknown"
    LOCK = "lock"
    ERROR = "error"


class AcceptedUpdate(msgspec.Struct, kw_only=True, gc=False):
    """An acknowledged update that has no final verdict yet.

    Attributes:
        entry: its position in the order of acceptance.
        payload: what the producer sent.
        tracked: its verdict is to be published.
        attempts: how often it was parked before; 0 for a new one.
        first_seen: when it was parked first.
        is_last_attempt: it was parked for too long to be parked again.
        retried_early: it is parked and not due, but tried with others of its order.
        parked_for: what it was parked for before; None for a new one.
        cause: what it is parked for.
        holder: the session for whose lock it waits.
        verdict: None until it is settled.
        reason: why it is parked or dead.
    """

    entry: int
    payload: bytes
    tracked: bool = False
    attempts: int = 0
    first_seen: datetime | None = None
    is_last_attempt: bool = False
    retried_early: bool = False
    parked_for: Cause | None = None
    cause: Cause = Cause.UNKNOWN
    holder: LockHolder | None = None
    verdict: Verdict | None = None
    reason: str = ""

    def settle(self, verdict: Verdict, reason: str = "") -> None:
        """Give the verdict. The reason may quote a payload, so it is made storable and is cut."""
        printable = reason.replace("\0", "\\0").encode("utf-8", "replace").decode()
        self.verdict, self.reason = verdict, printable[:MAX_REASON_CHARS]

    def park(self, cause: Cause, reason: str, holder: LockHolder | None = None) -> None:
        """Park it. The patience for another cause than before begins now."""
        self.settle(Verdict.PARKED, reason)
        self.cause, self.holder = cause, holder
        if self.parked_for not in (None, cause):
            self.is_last_attempt = self.retried_early = False


class ParsedUpdate(AcceptedUpdate, kw_only=True, gc=False):
    """An accepted update that is valid.

    Attributes:
        version: the producer's own, otherwise the position in the order of acceptance.
        mixes_versions: a field was not taken because one of these two versions is a counter of the
            application's own, and the other the position in the order of acceptance.
    """

    update: OrderUpdate
    version: int
    mixes_versions: bool = False


RawEntry = tuple[int, bytes, bool]
"""An accepted update as a source returns it: position in the order of acceptance, payload, whether it is
tracked."""


def parse_entries(raw_entries: Sequence[RawEntry]) -> list[AcceptedUpdate]:
    """Return a `ParsedUpdate` for each valid payload; for others an update that is already dead."""
    updates = decode_updates([payload for _entry, payload, _tracked in raw_entries])
    return [_parse_entry(*raw, update) for raw, update in zip(raw_entries, updates, strict=True)]


def _parse_entry(
    entry: int,
    payload: bytes,
    tracked: bool,  # noqa: FBT001 - a member of the raw entry
    update: OrderUpdate | InvalidUpdate,
) -> AcceptedUpdate:
    if isinstance(update, InvalidUpdate):
        dead = AcceptedUpdate(entry=entry, payload=payload, tracked=tracked)
        dead.settle(Verdict.DEAD, f"cannot be read: {update}")
        return dead
    version = entry if update.version is None else cast("int", update.version)
    return ParsedUpdate(
        entry=entry, payload=payload, tracked=tracked, update=update, version=version
    )
