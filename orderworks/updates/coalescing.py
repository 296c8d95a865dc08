"""Coalescing: the updates of an order are merged field by field into one change. No I/O.

A field belongs to the newest write that gave it (`orderworks/core/field_versions.py`). At equal versions
with other values, the update that was accepted later gives the field.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from orderworks.core.field_versions import NEVER, stored_version
from orderworks.core.schema import orders
from orderworks.core.versions import is_by_acceptance
from orderworks.updates.entries import Cause, ParsedUpdate
from orderworks.updates.messages import Money, Verdict

FIELDS = ("total", "status", "customer_id")
"""The fields of an update."""


class OrderRow(msgspec.Struct, omit_defaults=True, gc=False):
    """The values of a change, as the database receives them.

    Attributes:
        version: that of the newest of its updates.
        first_version: that of the oldest, if there are several.
        versions: those of the updates that gave the fields, in the order of `FIELDS`, if there are
            several; an element without a field has no meaning.
    """

    order_id: int
    version: int
    customer_id: int | None = None
    status: str | None = None
    total: Money | None = None
    first_version: int | None = None
    versions: list[int] | None = None


class StoredOrder(NamedTuple):
    """An order's fields in the table, and their versions."""

    version: int
    field_versions: Sequence[int | None] | None
    total: Money
    status: str
    customer_id: int

    def newest(self, field: str) -> tuple[int, object]:
        """Return the version of a field, and its value."""
        version = stored_version(orders, field, self.version, self.field_versions)
        return version, getattr(self, field)


class OrderChange(msgspec.Struct, gc=False):
    """The change of one order by a batch: its updates merged field by field.

    Attributes:
        updates: those that gave a field, in order of acceptance.
        stored: the order in the table, where it was read.
    """

    row: OrderRow
    updates: list[ParsedUpdate]
    stored: StoredOrder | None = None

    def add(self, candidate: ParsedUpdate) -> None:
        """Merge an update that was accepted later; give it its verdict if no field is taken from it."""
        candidate.mixes_versions = False
        taken, equal, reasons = self._compare(candidate)
        candidate.reason = "; ".join(reasons)
        if taken:
            candidate.verdict = None
            self._take(candidate, taken)
        else:
            candidate.verdict = Verdict.DUPLICATE if equal else Verdict.STALE

    def _compare(self, candidate: ParsedUpdate) -> tuple[list[str], bool, list[str]]:
        """Return the fields to take, whether others are equal at this version, and why not the rest."""
        taken, equal, reasons = list[str](), False, list[str]()
        version = candidate.version
        for index, field in enumerate(FIELDS):
            value = getattr(candidate.update, field)
            if value is None:
                continue
            newest, current = self._newest(index, field)
            # A total is a text with two decimals, or a number that has such a text.
            if version > newest or (version == newest and str(value) != str(current)):
                taken.append(field)
            elif version == newest:
                equal = True
            else:
                reasons.append(_not_taken(field, newest, version))
                candidate.mixes_versions |= is_by_acceptance(newest) != is_by_acceptance(version)
        return taken, equal, reasons

    def _newest(self, index: int, field: str) -> tuple[int, object]:
        """Return the version of the field's newest write so far, and the value that it gave."""
        value = getattr(self.row, field)
        if value is not None:
            return self.row.versions[index] if self.row.versions else self.row.version, value
        return self.stored.newest(field) if self.stored else (NEVER, None)

    def _take(self, candidate: ParsedUpdate, fields: Collection[str]) -> None:
        row, version = self.row, candidate.version
        if self.updates:
            versions = row.versions or [row.version] * len(FIELDS)
            row.versions = [
                version if field in fields else old
                for field, old in zip(FIELDS, versions, strict=True)
            ]
            first = row.version if row.first_version is None else row.first_version
            row.first_version, row.version = min(first, version), max(row.version, version)
        else:
            row.version = version
        for field in fields:
            setattr(row, field, getattr(candidate.update, field))
        self.updates.append(candidate)

    def mark_parked(self) -> None:
        """Park its updates, because their order does not exist."""
        for update in self.updates:
            update.park(Cause.UNKNOWN, f"order {self.row.order_id} does not exist")

    def giving(self) -> list[ParsedUpdate]:
        """Return the updates from which the fields of the row are, in order of acceptance."""
        last = [
            next(each for each in reversed(self.updates) if self._gives(each, index, field))
            for index, field in enumerate(FIELDS)
            if getattr(self.row, field) is not None
        ]
        return [each for each in self.updates if any(each is one for one in last)]

    def _gives(self, update: ParsedUpdate, index: int, field: str) -> bool:
        given = self.row.versions[index] if self.row.versions else self.row.version
        return update.version == given and getattr(update.update, field) is not None

    def mark_applied(self) -> None:
        """Give its updates their verdicts: the last one is applied, the others are superseded."""
        for update in self.updates:
            update.verdict = Verdict.SUPERSEDED
        self.updates[-1].verdict = Verdict.APPLIED


def coalesce(
    candidates: Iterable[ParsedUpdate], stored: Mapping[int, StoredOrder]
) -> list[OrderChange]:
    """Merge updates by order; return the changes by order id.

    `stored` has the orders of the table, where known. An update of which no field is newer than those of
    the order and of the batch gets its verdict here: stale or duplicate.
    """
    changes: dict[int, OrderChange] = {}
    for candidate in candidates:
        update = candidate.update
        order_id = update.order_id
        change = changes.get(order_id)
        if change is not None:
            change.add(candidate)
        elif order_id in stored:
            change = OrderChange(OrderRow(order_id, candidate.version), [], stored[order_id])
            changes[order_id] = change
            change.add(candidate)
        else:
            changes[order_id] = _first_change(candidate)
    return [changes[order_id] for order_id in sorted(changes) if changes[order_id].updates]


def _first_change(candidate: ParsedUpdate) -> OrderChange:
    """Return the change by an order's first update, which gives all its fields: nearly every one."""
    update = candidate.update
    candidate.verdict, candidate.reason = None, ""
    row = OrderRow(
        update.order_id, candidate.version, update.customer_id, update.status, update.total
    )
    return OrderChange(row, [candidate])


def can_create(change: OrderChange) -> bool:
    """Return whether the change has all values that a new order needs."""
    return change.row.customer_id is not None and change.row.total is not None


def _not_taken(field: str, newest: int, version: int) -> str:
    """Return why a field of an update was not taken."""
    if is_by_acceptance(newest) and not is_by_acceptance(version):
        return (
            f"{field}: version {newest}, by the order of acceptance, is newer than {version}, a counter "
            "of the application's own; give all updates of an order a version, or none"
        )
    return f"{field}: version {newest} is newer"
