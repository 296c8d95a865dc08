"""Coalescing: the updates of an order are merged field by field into one change. No I/O."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import msgspec

from orderworks.core.bounds import MAX_BIGINT
from orderworks.updates.entries import ParsedUpdate
from orderworks.updates.messages import Money, Verdict


class OrderRow(msgspec.Struct, omit_defaults=True, gc=False):
    """The values of a change, as the database receives them.

    Attributes:
        first_version: the version of the first of several updates: the row must be older than it.
    """

    order_id: int
    version: int
    customer_id: int | None = None
    status: str | None = None
    total: Money | None = None
    first_version: int | None = None


class OrderChange(msgspec.Struct, gc=False):
    """The change of one order by a batch: its updates merged field by field, the latest value wins."""

    row: OrderRow
    updates: list[ParsedUpdate]

    def merge(self, candidate: ParsedUpdate) -> None:
        """Add a newer update of the same order."""
        row, update = self.row, candidate.update
        if row.first_version is None:
            row.first_version = row.version
        row.version = candidate.version
        row.customer_id = row.customer_id if update.customer_id is None else update.customer_id
        row.status = row.status if update.status is None else update.status
        row.total = row.total if update.total is None else update.total
        self.updates.append(candidate)

    def mark_parked(self) -> None:
        """Park its updates, because their order does not exist."""
        for update in self.updates:
            update.settle(Verdict.PARKED, f"order {self.row.order_id} does not exist")

    def mark_applied(self) -> None:
        """Give its updates their verdicts: the last one is applied, the others are superseded."""
        for update in self.updates:
            update.verdict = Verdict.SUPERSEDED
        self.updates[-1].verdict = Verdict.APPLIED


def coalesce(candidates: Iterable[ParsedUpdate], versions: Mapping[int, int]) -> list[OrderChange]:
    """Merge updates by order; return the changes by order id.

    `versions` are those of the rows, where known. An update that is not newer than the row and all
    earlier updates of the batch gets its verdict here: stale or duplicate.
    """
    changes: dict[int, OrderChange] = {}
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


def _change(candidate: ParsedUpdate) -> OrderChange:
    update = candidate.update
    row = OrderRow(
        update.order_id, candidate.version, update.customer_id, update.status, update.total
    )
    return OrderChange(row, [candidate])


def coalesce_unknown(candidates: Iterable[ParsedUpdate]) -> list[OrderChange]:
    """Merge updates of orders that do not exist; return the changes by order id.

    The effect is as if an order's updates were parked one by one until they suffice to create it: these
    are merged by version. Later updates are then compared with the version of the result.
    """
    by_order: dict[int, list[ParsedUpdate]] = {}
    for candidate in candidates:
        by_order.setdefault(candidate.update.order_id, []).append(candidate)
    ordered = (_as_if_parked(of_order) for of_order in by_order.values())
    return coalesce(chain.from_iterable(ordered), {})


def _as_if_parked(candidates: Sequence[ParsedUpdate]) -> list[ParsedUpdate]:
    """Return an order's updates, with those that create it, or do not suffice to, sorted by version."""
    customer = _first_true(each.update.customer_id is not None for each in candidates)
    total = _first_true(each.update.total is not None for each in candidates)
    needed = max(customer, total) + 1
    return [*sorted(candidates[:needed], key=_version), *candidates[needed:]]


def _first_true(flags: Iterable[bool]) -> int:
    """Return the index of the first true flag; a larger one than any index if all are false."""
    return next((index for index, flag in enumerate(flags) if flag), MAX_BIGINT)


def _version(candidate: ParsedUpdate) -> int:
    return candidate.version


def can_create(change: OrderChange) -> bool:
    """Return whether the change has all values that a new order needs."""
    return change.row.customer_id is not None and change.row.total is not None
