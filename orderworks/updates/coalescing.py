"""Updates of one order become one change: merged field by field, guarded by version. No I/O."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import msgspec

from orderworks.core.bounds import MAX_BIGINT
from orderworks.updates.entries import ParsedUpdate
from orderworks.updates.messages import Money, Verdict


class OrderRow(msgspec.Struct, omit_defaults=True, gc=False):
    """What a change says to the database.

    Attributes:
        first_version: of the first of several updates: the row has to be older than all of them.
    """

    order_id: int
    version: int
    customer_id: int | None = None
    status: str | None = None
    total: Money | None = None
    first_version: int | None = None


class OrderChange(msgspec.Struct, gc=False):
    """What a batch makes of one order: its updates merged field by field, the last word wins."""

    row: OrderRow
    updates: list[ParsedUpdate]

    def merge(self, candidate: ParsedUpdate) -> None:
        """Take a newer update of the same order in."""
        row, update = self.row, candidate.update
        if row.first_version is None:
            row.first_version = row.version
        row.version = candidate.version
        row.customer_id = row.customer_id if update.customer_id is None else update.customer_id
        row.status = row.status if update.status is None else update.status
        row.total = row.total if update.total is None else update.total
        self.updates.append(candidate)

    def mark_parked(self) -> None:
        """Let its updates wait for their order."""
        for part in self.updates:
            part.settle(Verdict.PARKED, f"order {self.row.order_id} does not exist")

    def mark_applied(self) -> None:
        """Give its updates their verdicts: only the last one is the word."""
        for part in self.updates:
            part.verdict = Verdict.SUPERSEDED
        self.updates[-1].verdict = Verdict.APPLIED


def coalesce(candidates: Iterable[ParsedUpdate], versions: Mapping[int, int]) -> list[OrderChange]:
    """Merge updates by order, sorted by order id; those that cannot apply get their verdict.

    `versions` are those of rows, where known. What is not newer than the row and all earlier updates
    of the batch is stale or a duplicate.
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
    """Merge updates of orders that do not exist.

    Those of an order wait, as if they were parked, until they say enough to create it together: so
    these are merged by version. Whatever comes after them is weighed against what they made.
    """
    by_order: dict[int, list[ParsedUpdate]] = {}
    for candidate in candidates:
        by_order.setdefault(candidate.update.order_id, []).append(candidate)
    waited = (_as_if_parked(of_order) for of_order in by_order.values())
    return coalesce(chain.from_iterable(waited), {})


def _as_if_parked(candidates: Sequence[ParsedUpdate]) -> list[ParsedUpdate]:
    """The updates of one order, of which those that create it, or do not suffice, go by version."""
    customer = _first_true(each.update.customer_id is not None for each in candidates)
    total = _first_true(each.update.total is not None for each in candidates)
    enough = max(customer, total) + 1
    return [*sorted(candidates[:enough], key=_version), *candidates[enough:]]


def _first_true(flags: Iterable[bool]) -> int:
    """The place of the first one that is found; where none is, a place behind any."""
    return next((number for number, each in enumerate(flags) if each), MAX_BIGINT)


def _version(candidate: ParsedUpdate) -> int:
    return candidate.version


def can_create(change: OrderChange) -> bool:
    """Whether the change says enough to make its order."""
    return change.row.customer_id is not None and change.row.total is not None
