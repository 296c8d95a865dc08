"""A batch of accepted updates becomes one statement, guarded by version, and a verdict for each.

The effect is that of applying the updates one by one in order of acceptance, each only if its version
is higher than its order's: whatever the batches, the drains and the redeliveries.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON, insert

from orders.database import is_refusal, refusal, savepoint
from orders.errors import InvalidUpdate, OrderworksError
from orders.messages import MAX_BIGINT, OrderUpdate, Verdict, decode_updates
from orders.messages import Money as Amount
from orders.schema import Money, customers, orders

LONGEST_REASON = 500
"""Characters of a reason that are kept."""

CROWD = 100
"""Updates of one order that are tried one by one when they are refused together. More of them die
together: they are kept, and whoever replays them brings them one after another."""

MOST_REFUSED = 200
"""Changes of a batch that may be refused one by one. Each good one that is written between them by
itself holds one of the locks that all sessions share, until the commit."""


LEFT_ALONE = (
    "the database left the order as it was, without an error: look at its triggers and rules"
)


class BatchRefused(OrderworksError):
    """The database refused a batch for the data of one or some of its updates."""


class TooManyRefused(OrderworksError):
    """The database refuses so much of a batch that it has to be taken in smaller ones."""


class Accepted(msgspec.Struct, kw_only=True, gc=False):
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
    last_attempt: bool = False
    brought_along: bool = False
    verdict: Verdict | None = None
    reason: str = ""

    def end(self, verdict: Verdict, reason: str = "") -> None:
        """Give the verdict. The reason may quote what came from outside: it is made fit to be stored."""
        printable = reason.replace("\0", "\\0").encode("utf-8", "replace").decode()
        self.verdict, self.reason = verdict, printable[:LONGEST_REASON]


class Candidate(Accepted, kw_only=True, gc=False):
    """An accepted update that could be read.

    Attributes:
        version: the producer's own, else the place in the order of acceptance.
    """

    update: OrderUpdate
    version: int


class Row(msgspec.Struct, omit_defaults=True, gc=False):
    """What a change says to the database.

    Attributes:
        first_version: of the first of several updates: the row has to be older than all of them.
    """

    order_id: int
    version: int
    customer_id: int | None = None
    status: str | None = None
    total: Amount | None = None
    first_version: int | None = None


class Change(msgspec.Struct, gc=False):
    """What a batch makes of one order: its updates merged field by field, the last word wins."""

    row: Row
    parts: list[Candidate]

    def merge(self, candidate: Candidate) -> None:
        """Take a newer update of the same order in."""
        row, update = self.row, candidate.update
        if row.first_version is None:
            row.first_version = row.version
        row.version = candidate.version
        row.customer_id = row.customer_id if update.customer_id is None else update.customer_id
        row.status = row.status if update.status is None else update.status
        row.total = row.total if update.total is None else update.total
        self.parts.append(candidate)

    def park(self) -> None:
        """Let its updates wait for their order."""
        for part in self.parts:
            part.end(Verdict.PARKED, f"order {self.row.order_id} does not exist")

    def apply(self) -> None:
        """Give its updates their verdicts: only the last one is the word."""
        for part in self.parts:
            part.verdict = Verdict.SUPERSEDED
        self.parts[-1].verdict = Verdict.APPLIED


Arrival = tuple[int, bytes, bool]
"""An accepted update as it arrives: place in the order of acceptance, payload, whether it is tracked."""


def read_accepted(arrivals: Sequence[Arrival]) -> list[Accepted]:
    """Candidates; and where a payload is no update, something dead already, with the reason."""
    updates = decode_updates([payload for _entry, payload, _tracked in arrivals])
    return [_accepted(*arrival, update) for arrival, update in zip(arrivals, updates, strict=True)]


def _accepted(
    entry: int,
    payload: bytes,
    tracked: bool,  # noqa: FBT001 - a column of an arrival
    update: OrderUpdate | InvalidUpdate,
) -> Accepted:
    if isinstance(update, InvalidUpdate):
        dead = Accepted(entry=entry, payload=payload, tracked=tracked)
        dead.end(Verdict.DEAD, f"cannot be read: {update}")
        return dead
    version = entry if update.version is None else update.version
    return Candidate(entry=entry, payload=payload, tracked=tracked, update=update, version=version)


Apply = Callable[[sa.Connection, Sequence[Candidate]], None]
"""Applies a batch within the caller's transaction; afterwards each candidate has its verdict."""


def apply_at_once(connection: sa.Connection, candidates: Sequence[Candidate]) -> None:
    """Apply a batch of which the database refuses nothing, as nearly always.

    Raises:
        BatchRefused: it refused something. Roll back, and use `apply_updates`.
    """
    _apply(connection, candidates, _write_at_once)


def apply_updates(connection: sa.Connection, candidates: Sequence[Candidate]) -> None:
    """Apply a batch, and find what the database refuses of it.

    Raises:
        TooManyRefused: the database refuses much of it. Roll back, and take a smaller batch.
    """
    _apply(connection, candidates, _write)


def _apply(connection: sa.Connection, candidates: Sequence[Candidate], write: "Write") -> None:
    """Nearly always one UPDATE.

    Only orders that it did not change, because they are unknown, or because a write in the batch is
    older than the row or refused, are looked at by themselves.
    """
    ready = _without_unknown_customers(connection, candidates)
    refused = write(connection, coalesce(ready, {}), _update_rows)
    # What coalescing within the batch decided about other orders is decided again with their rows.
    behind = {each.update.order_id for each in ready if each.verdict is None} - refused.keys()
    refused |= _settle(connection, [each for each in ready if each.update.order_id in behind])
    _settle_refused(
        connection, [each for each in ready if each.update.order_id in refused], refused
    )


def coalesce(candidates: Iterable[Candidate], versions: Mapping[int, int]) -> list[Change]:
    """Merge updates by order, sorted by order id; those that cannot apply get their verdict.

    `versions` are those of rows, where known. What is not newer than the row and all earlier updates
    of the batch is stale or a duplicate.
    """
    changes: dict[int, Change] = {}
    for candidate in candidates:
        order_id, version = candidate.update.order_id, candidate.version
        change = changes.get(order_id)
        newest = change.row.version if change else versions.get(order_id, -1)
        if version <= newest:
            candidate.verdict = Verdict.DUPLICATE if version == newest else Verdict.STALE
            continue
        candidate.verdict = None
        if change is None:
            changes[order_id] = _change(candidate)
        else:
            change.merge(candidate)
    return [changes[order_id] for order_id in sorted(changes)]


def _change(candidate: Candidate) -> Change:
    update = candidate.update
    row = Row(update.order_id, candidate.version, update.customer_id, update.status, update.total)
    return Change(row, [candidate])


def _without_unknown_customers(
    connection: sa.Connection, candidates: Sequence[Candidate]
) -> list[Candidate]:
    """Park the updates whose customer does not exist; the others."""
    named = {each.update.customer_id for each in candidates}
    named.discard(None)
    if not named:
        return list(candidates)
    query = sa.select(customers.c.id).where(
        customers.c.id == sa.any_(sa.literal(list(named), _IDS))
    )
    known = {None, *connection.scalars(query)}
    for candidate in candidates:
        if candidate.update.customer_id not in known:
            candidate.end(Verdict.PARKED, f"customer {candidate.update.customer_id} does not exist")
    return [each for each in candidates if each.update.customer_id in known]


Refused = dict[int, str]
"""Orders whose change the database refused, with its reason."""


def _settle(connection: sa.Connection, candidates: Sequence[Candidate]) -> Refused:
    """Decide with the rows locked: apply what is newer, create what can be, park the rest."""
    if not candidates:
        return {}
    versions = _locked_versions(connection, {each.update.order_id for each in candidates})
    known = [each for each in candidates if each.update.order_id in versions]
    refused = _settle_known(connection, known, versions)
    unknown = _coalesce_unknown(each for each in candidates if each.update.order_id not in versions)
    refused |= _write(connection, [each for each in unknown if _can_create(each)], _insert_rows)
    created_by_others = set()
    for change in unknown:
        if not _can_create(change):
            change.park()
        elif change.parts[-1].verdict is None and change.row.order_id not in refused:
            created_by_others.add(change.row.order_id)
    again = [each for each in candidates if each.update.order_id in created_by_others]
    return refused | _settle_created(connection, again)


def _settle_known(
    connection: sa.Connection, candidates: Sequence[Candidate], versions: Mapping[int, int]
) -> Refused:
    """Apply what is newer than rows that are locked."""
    refused = _write(connection, coalesce(candidates, versions), _update_rows)
    for each in candidates:
        if each.verdict is None and each.update.order_id not in refused:
            each.end(Verdict.DEAD, LEFT_ALONE)
    return refused


def _settle_created(connection: sa.Connection, candidates: Sequence[Candidate]) -> Refused:
    """Apply to orders that somebody else created just now."""
    if not candidates:
        return {}
    versions = _locked_versions(connection, {each.update.order_id for each in candidates})
    for each in candidates:
        if each.update.order_id not in versions:
            each.end(Verdict.DEAD, LEFT_ALONE)
    known = [each for each in candidates if each.update.order_id in versions]
    return _settle_known(connection, known, versions)


def _coalesce_unknown(candidates: Iterable[Candidate]) -> list[Change]:
    """Merge updates of orders that do not exist.

    Those of an order wait, as if they were parked, until they say enough to create it together: so
    these are merged by version. Whatever comes after them is weighed against what they made.
    """
    by_order: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        by_order.setdefault(candidate.update.order_id, []).append(candidate)
    waited = (_as_if_parked(of_order) for of_order in by_order.values())
    return coalesce(chain.from_iterable(waited), {})


def _as_if_parked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The updates of one order, of which those that create it, or do not suffice, go by version."""
    customer = _first(each.update.customer_id is not None for each in candidates)
    total = _first(each.update.total is not None for each in candidates)
    enough = max(customer, total) + 1
    return [*sorted(candidates[:enough], key=_version), *candidates[enough:]]


def _first(found: Iterable[bool]) -> int:
    """The place of the first one that is found; where none is, a place behind any."""
    return next((number for number, each in enumerate(found) if each), MAX_BIGINT)


def _version(candidate: Candidate) -> int:
    return candidate.version


def _locked_versions(connection: sa.Connection, order_ids: Collection[int]) -> dict[int, int]:
    """The versions of those orders that exist, which nobody can change until the commit."""
    locked = (
        sa.select(orders.c.id, orders.c.version)
        .where(orders.c.id == sa.any_(sa.literal(sorted(order_ids), _IDS)))
        .order_by(orders.c.id)
        .with_for_update(key_share=True)
    )
    return dict(iter(connection.execute(locked)))


def _settle_refused(
    connection: sa.Connection, candidates: Sequence[Candidate], refused: Refused
) -> None:
    """Of orders whose change was refused, find the updates that are at fault; the others apply.

    Raises:
        TooManyRefused: there are too many to try each.
    """
    count = Counter(each.update.order_id for each in candidates)
    tried = [each for each in candidates if 1 < count[each.update.order_id] <= CROWD]
    if len(tried) > MOST_REFUSED:
        raise TooManyRefused
    for each in candidates:
        each.end(Verdict.DEAD, refused[each.update.order_id])
    for each in tried:
        each.verdict, each.reason = None, ""
        if reason := _settle(connection, [each]).get(each.update.order_id):
            each.end(Verdict.DEAD, reason)


def _can_create(change: Change) -> bool:
    return change.row.customer_id is not None and change.row.total is not None


Statement = Callable[[sa.Connection, Sequence[Change]], Collection[int]]


Write = Callable[[sa.Connection, Sequence[Change], Statement], Refused]


def _write_at_once(
    connection: sa.Connection, changes: Sequence[Change], statement: Statement
) -> Refused:
    """Write the changes, of which none is refused."""
    try:
        _run(connection, changes, statement)
    except sa.exc.DBAPIError as error:
        if not is_refusal(error):
            raise
        raise BatchRefused from error
    return {}


def _write(connection: sa.Connection, changes: Sequence[Change], statement: Statement) -> Refused:
    """Write the changes that the database takes; those that it refuses for their data."""
    refused: Refused = {}
    if changes:
        _write_or_halve(connection, changes, statement, refused)
    return refused


def _write_or_halve(
    connection: sa.Connection, changes: Sequence[Change], statement: Statement, refused: Refused
) -> None:
    """Run the statement; where the database refuses, halve until the bad change is alone."""
    try:
        with savepoint(connection):
            _run(connection, changes, statement)
    except sa.exc.DBAPIError as error:
        if not is_refusal(error):
            raise
        if len(changes) == 1:
            refused[changes[0].row.order_id] = refusal(error)
            if len(refused) > MOST_REFUSED:
                raise TooManyRefused from error
            return
        middle = len(changes) // 2
        _write_or_halve(connection, changes[:middle], statement, refused)
        _write_or_halve(connection, changes[middle:], statement, refused)


def _run(connection: sa.Connection, changes: Sequence[Change], statement: Statement) -> None:
    """Run the statement; the changes that it made have their verdict."""
    written = statement(connection, changes)
    for change in changes:
        if change.row.order_id in written:
            change.apply()


_IDS = sa.ARRAY(sa.BigInteger)

# One parameter for the whole batch. PostgreSQL expects few rows from it, so it looks the orders up by
# primary key in the order given, which is sorted: two writers lock in the same order.
_BATCH = (
    sa.func.json_to_recordset(sa.cast(sa.bindparam("batch", type_=sa.Text), JSON))
    .table_valued(
        sa.column("order_id", sa.BigInteger),
        sa.column("customer_id", sa.BigInteger),
        sa.column("status", sa.Text),
        sa.column("total", Money),
        sa.column("first_version", sa.BigInteger),
        sa.column("version", sa.BigInteger),
        name="batch",
    )
    .render_derived(with_types=True)
)

_UPDATE = (
    sa.update(orders)
    .where(
        orders.c.id == _BATCH.c.order_id,
        orders.c.version < sa.func.coalesce(_BATCH.c.first_version, _BATCH.c.version),
    )
    .values(
        customer_id=sa.func.coalesce(_BATCH.c.customer_id, orders.c.customer_id),
        status=sa.func.coalesce(_BATCH.c.status, orders.c.status),
        total=sa.func.coalesce(_BATCH.c.total, orders.c.total),
        updated_at=sa.func.now(),
        version=_BATCH.c.version,
    )
    .returning(orders.c.id)
)

_INSERT = (
    insert(orders)
    .from_select(
        ["id", "customer_id", "status", "total", "version"],
        sa.select(
            _BATCH.c.order_id,
            _BATCH.c.customer_id,
            sa.func.coalesce(_BATCH.c.status, "new"),
            _BATCH.c.total,
            _BATCH.c.version,
        ).order_by(_BATCH.c.order_id),
    )
    .on_conflict_do_nothing(index_elements=["id"])
    .returning(orders.c.id)
)


def _update_rows(connection: sa.Connection, changes: Sequence[Change]) -> set[int]:
    """Change the rows that exist and are older than all of the change; the ids of those changed."""
    return set(connection.scalars(_UPDATE, {"batch": _encoded(changes)}).all())


def _insert_rows(connection: sa.Connection, changes: Sequence[Change]) -> set[int]:
    """Create the rows; one that somebody else created just now is left for the next attempt."""
    return set(connection.scalars(_INSERT, {"batch": _encoded(changes)}).all())


_encoder = msgspec.json.Encoder(decimal_format="string")


def _encoded(changes: Sequence[Change]) -> str:
    return _encoder.encode([change.row for change in changes]).decode()
