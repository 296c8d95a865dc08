"""Dead letters: updates that could not be applied, kept with the reason; how to list and count them.

`orderworks/updates/parking.py` and `ingest.py` add them, `orderworks/updates/replay.py` replays them.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.errors import DeadUpdateNotFound, InvalidUpdate
from orderworks.core.routing import INGEST
from orderworks.core.schema import dead_updates
from orderworks.core.versions import entry_id, moment_of
from orderworks.updates.entries import AcceptedUpdate
from orderworks.updates.messages import OrderUpdate


class DeadLetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Selects the dead updates that meet all given conditions.

    Attributes:
        ids: their ids; empty for all.
        reason: text that the reason contains, in any case.
        order_id: the order of the update.
        since, until: when it became a dead letter: from `since`, and before `until`.
        replayed: whether it was replayed; None for both.
    """

    ids: Collection[int] = ()
    reason: str = ""
    order_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    replayed: bool | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return the conditions on the rows of `dead_updates`."""
        letter, conditions = dead_updates.c, list[sa.ColumnElement[bool]]()
        if self.ids:
            conditions.append(letter.id == sa.any_(_identifiers(self.ids)))
        if self.reason:
            conditions.append(letter.reason.icontains(self.reason, autoescape=True))
        if self.order_id is not None:
            conditions.append(_is_of_order(self.order_id))
        if self.since:
            conditions.append(letter.died_at >= self.since)
        if self.until:
            conditions.append(letter.died_at < self.until)
        if self.replayed is not None:
            conditions.append(letter.replayed_at.is_not(None) == sa.literal(self.replayed))
        return conditions


class Letter(msgspec.Struct, frozen=True):
    """A dead update.

    Attributes:
        order_id, version: None if the payload cannot be read as an update. The version is the
            producer's own, otherwise the position in the order of acceptance.
        payload: what the producer sent, as text; bytes that are not UTF-8 are escaped.
        shard, entry: its stream and entry id; `INGEST` and a fingerprint for an update of a Celery
            message.
        attempts: how often it was tried.
    """

    id: int
    order_id: int | None
    version: int | None
    reason: str
    payload: str
    shard: int
    entry: str
    accepted_at: datetime
    first_seen: datetime
    died_at: datetime
    attempts: int
    replayed_at: datetime | None


class DeadLetterPage(msgspec.Struct, frozen=True):
    """The number of dead updates, and some of them."""

    total: int
    dead: list[Letter]


def list_dead_letters(
    connection: sa.Connection,
    criteria: DeadLetterFilter,
    limit: int | None,
    before: int | None = None,
) -> DeadLetterPage:
    """Return the number of dead updates that match, and at most `limit` of them, newest first.

    `before` is the last id of the previous page.

    Raises:
        DeadUpdateNotFound: an id of the filter does not exist; the message names it.
    """
    require_existing(connection, criteria.ids)
    conditions = criteria.conditions()
    count = sa.select(sa.func.count()).select_from(dead_updates).where(*conditions)
    query = sa.select(dead_updates).where(*conditions).order_by(dead_updates.c.id.desc())
    if before is not None:
        query = query.where(dead_updates.c.id < before)
    letters = [_letter(row) for row in connection.execute(query.limit(limit))]
    return DeadLetterPage(connection.scalar(count) or 0, letters)


def count_unreplayed(connection: sa.Connection) -> int:
    """Return the number of dead updates that were not replayed."""
    unreplayed = DeadLetterFilter(replayed=False).conditions()
    query = sa.select(sa.func.count()).select_from(dead_updates).where(*unreplayed)
    return connection.scalar(query) or 0


def require_existing(connection: sa.Connection, ids: Collection[int]) -> None:
    """Raise `DeadUpdateNotFound` unless all of them exist."""
    query = sa.select(dead_updates.c.id).where(dead_updates.c.id == sa.any_(_identifiers(ids)))
    unknown = sorted(set(ids) - set(connection.scalars(query))) if ids else []
    if unknown:
        raise DeadUpdateNotFound(unknown)


def with_accepted_version(shard: int, entry: int, payload: bytes) -> OrderUpdate:
    """Return the update, with the version of its acceptance if it has no version of its own.

    Raises:
        InvalidUpdate: the payload is not an update, or has no version and was accepted in a Celery
            message, which gives none.
    """
    try:
        update = OrderUpdate.decode(payload)
    except InvalidUpdate:
        raise
    except Exception as error:  # an unexpected error of one payload must not hide the others
        raise InvalidUpdate("update", str(error)) from error
    if update.version is not None:
        return update
    if shard == INGEST:
        raise InvalidUpdate("version", "is missing, and the Celery message gave the update none")
    return msgspec.structs.replace(update, version=entry)


def _letter(row: sa.Row[*tuple[Any, ...]]) -> Letter:
    payload = bytes(row.payload)
    try:
        update = with_accepted_version(row.shard, row.entry, payload)
    except InvalidUpdate:
        order_id, version = None, None
    else:
        order_id, version = update.order_id, update.own_version
    entry, accepted_at = _entry_and_time(row.shard, row.entry, row.first_seen)
    return Letter(
        id=row.id,
        order_id=order_id,
        version=version,
        reason=row.reason,
        payload=payload.decode("utf-8", "backslashreplace"),
        shard=row.shard,
        entry=entry,
        accepted_at=accepted_at,
        first_seen=row.first_seen,
        died_at=row.died_at,
        attempts=row.attempts,
        replayed_at=row.replayed_at,
    )


def _entry_and_time(shard: int, entry: int, first_seen: datetime) -> tuple[str, datetime]:
    """Return the entry's id, and when it was accepted; the id is a fingerprint for Celery messages."""
    if shard == INGEST:
        return f"{entry:016x}", first_seen
    return entry_id(entry), moment_of(entry)


def _identifiers(ids: Collection[int]) -> sa.BindParameter[Sequence[int]]:
    return sa.literal(sorted(ids), sa.ARRAY(sa.BigInteger))


def _is_of_order(order_id: int) -> sa.ColumnElement[bool]:
    """Return the condition on the payload's text, which finds payloads that cannot be read, too.

    In JSON an unescaped quote begins or ends a text, and one before a colon ends a key.
    """
    space = r"[ \t\r\n]*"
    pattern = f'"order_id"{space}:{space}{order_id}([^0-9.eE]|$)'
    # This works for any bytes: those that are not ASCII become octal numbers.
    return sa.func.encode(dead_updates.c.payload, "escape").regexp_match(pattern)


def dead_letter(connection: sa.Connection, shard: int, dead: Iterable[AcceptedUpdate]) -> int:
    """Add dead letters; return how many are new."""
    rows = [
        {
            "shard": shard,
            "entry": each.entry,
            "payload": each.payload,
            "reason": each.reason,
            "first_seen": each.first_seen or sa.func.now(),
            "attempts": each.attempts + 1,
        }
        for each in dead
    ]
    if not rows:
        return 0
    return connection.execute(insert(dead_updates).values(rows).on_conflict_do_nothing()).rowcount
