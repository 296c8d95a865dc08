"""Order updates: what is accepted, what is refused, and how they travel."""

import gc
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderworks.core.versions import version_at
from orderworks.updates.messages import (
    FEW_DOCUMENTS,
    UpdateOutcome,
    Verdict,
    decode_updates,
    parse_version,
)
from producer import InvalidUpdate, OrderUpdate

ELEVEN = version_at(datetime(2026, 11, 26, 11, tzinfo=UTC))

GOOD = b'{"order_id":3,"total":"3.00"}'

totals = st.decimals(min_value=0, max_value=Decimal("999999999999.99"), places=2)
ids = st.integers(min_value=1, max_value=2**63 - 1)
statuses = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=64)


@given(
    order_id=ids,
    total=totals,
    status=st.none() | statuses,
    customer_id=st.none() | ids,
    version=st.none() | st.integers(min_value=0, max_value=2**63 - 1),
)
def test_every_valid_update_round_trips(
    order_id: int,
    total: Decimal,
    status: str | None,
    customer_id: int | None,
    version: int | None,
) -> None:
    update = OrderUpdate(
        order_id=order_id, total=total, status=status, customer_id=customer_id, version=version
    )
    assert OrderUpdate.decode(update.encode()) == update


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("order_id", {"order_id": 0, "total": 1}),
        ("order_id", {"order_id": 2**63, "total": 1}),
        ("order_id", {"order_id": True, "total": 1}),
        ("order_id", {"order_id": "7", "total": 1}),
        ("order_id", {"order_id": np.bool_(True), "total": 1}),
        ("order_id", {"order_id": np.array([1, 2]), "total": 1}),
        ("update", {"order_id": 1}),
        ("total", {"order_id": 1, "total": 19.99}),
        ("total", {"order_id": 1, "total": "12x"}),
        ("total", {"order_id": 1, "total": "NaN"}),
        ("total", {"order_id": 1, "total": Decimal("Infinity")}),
        ("total", {"order_id": 1, "total": "-1"}),
        ("total", {"order_id": 1, "total": 10**12}),
        ("total", {"order_id": 1, "total": "1.005"}),
        ("total", {"order_id": 1, "total": "1e131071"}),
        ("total", {"order_id": 1, "total": Decimal("1e-131071")}),
        ("total", {"order_id": 1, "total": "\uff11\uff12"}),
        ("status", {"order_id": 1, "status": ""}),
        ("status", {"order_id": 1, "status": "x" * 65}),
        ("status", {"order_id": 1, "status": "a\0b"}),
        ("status", {"order_id": 1, "status": "\ud800"}),
        ("customer_id", {"order_id": 1, "customer_id": -1}),
        ("version", {"order_id": 1, "total": 1, "version": -1}),
    ],
)
def test_invalid_update_is_refused_naming_its_field(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidUpdate, match=f"^{field}: ") as refused:
        OrderUpdate(**fields)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("field", "document"),
    [
        ("update", b"not json"),
        ("update", b'{"order_id": 1, "totl": "2"}'),
        ("update", b'{"total": "2"}'),
        ("order_id", b'{"order_id": "1", "total": "2"}'),
        ("total", b'{"order_id": 1, "total": "x"}'),
        ("total", b'{"order_id": 1, "total": 1e400}'),
        ("total", b'{"order_id": 1, "total": 1e999999999999999999999}'),
        ("total", '{"order_id": 1, "total": "\uff11\uff12.00"}'.encode()),
        ("total", b'{"order_id": 1, "total": "1_0"}'),
        ("total", b'{"order_id": 1, "total": "1e2"}'),
        ("update", b'{"order_id": 1, "status": "\xff"}'),
    ],
)
def test_invalid_document_is_refused_naming_its_field(field: str, document: bytes) -> None:
    with pytest.raises(InvalidUpdate) as refused:
        OrderUpdate.decode(document)
    assert refused.value.field == field


def test_whole_numbers_of_numpy_are_stored_as_ints() -> None:
    ids: dict[str, Any] = {
        "order_id": np.int64(5),
        "customer_id": np.uint8(7),
        "version": np.int32(0),
    }
    update = OrderUpdate(**ids)
    assert update == OrderUpdate(order_id=5, customer_id=7, version=0)
    assert {type(getattr(update, name)) for name in ids} == {int}
    assert update.encode() == b'{"order_id":5,"customer_id":7,"version":0}'


def test_white_space_around_a_total_is_skipped_and_within_it_is_shown() -> None:
    assert OrderUpdate(order_id=1, total="\xa0-0.00\u200b").total == Decimal("0.00")
    with pytest.raises(InvalidUpdate) as raised:
        OrderUpdate(order_id=1, total="\u22121\u202f000.00")
    assert raised.value.problem == r"'\u22121\u202f000.00' is not a number"


def test_json_numbers_keep_their_cents() -> None:
    assert OrderUpdate.decode(b'{"order_id": 1, "total": 0.29}').total == Decimal("0.29")


def test_totals_are_encoded_as_strings() -> None:
    assert OrderUpdate(order_id=1, total="19.9").encode() == b'{"order_id":1,"total":"19.90"}'


@pytest.mark.parametrize("verdict", Verdict)
def test_outcome_round_trips(verdict: Verdict) -> None:
    outcome = UpdateOutcome(verdict, 'größer "x"')
    assert UpdateOutcome.decode(outcome.encode()) == outcome


def test_outcome_is_encoded_with_both_members() -> None:
    assert UpdateOutcome(Verdict.STALE).encode() == b'{"verdict":"stale","reason":""}'
    assert UpdateOutcome.decode(b'{"verdict":"dead","reason":"x","more":1}') == UpdateOutcome(
        Verdict.DEAD, "x"
    )


def test_one_bad_document_has_only_its_neighbours_read_one_by_one() -> None:
    alone: list[bytes] = []

    def decode(document: bytes) -> OrderUpdate:
        alone.append(document)
        return OrderUpdate.decode(document)

    read = decode_updates([*[GOOD] * 700, b"{}", *[GOOD] * 299], decode)
    assert len(alone) <= FEW_DOCUMENTS
    assert [position for position, each in enumerate(read) if isinstance(each, InvalidUpdate)] == [
        700
    ]


def test_errors_of_documents_are_freed_without_garbage_collection() -> None:
    """Else a batch of bad documents blocks the process while their objects are collected."""
    gc.collect()
    decode_updates([b"{}"] * 1000)
    assert gc.collect() < 100


@pytest.mark.parametrize(
    "documents",
    [
        [b'{"order_id":1,"total":"1.00"}{"order_id":2,"total":"2.00"}', GOOD, GOOD, b""],
        [b'{"order_id":1,', b'"total":"1.00"} {"order_id":2,"total":"2.00"}'],
        [b"", GOOD + b"\n" + GOOD],
        [b" ", GOOD + GOOD],
    ],
)
def test_decoded_documents_keep_their_positions(documents: list[bytes]) -> None:
    for document, read in zip(documents, decode_updates(documents), strict=True):
        if document == GOOD:
            assert isinstance(read, OrderUpdate)
            assert read.encode() == GOOD
        else:
            assert isinstance(read, InvalidUpdate)


@pytest.mark.parametrize(
    ("text", "version"),
    [("7", 7), ("007", 7), ("2026-11-26T12:00:00+01:00", ELEVEN), ("2026-11-26T11:00:00Z", ELEVEN)],
)
def test_text_of_a_version_is_a_number_or_a_moment(text: str, version: int) -> None:
    update = OrderUpdate(order_id=1, status="paid", version=parse_version(text))
    assert update.version == version


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1.5", " 7", "2026-11-26", "2026-11-26T11:00:00", "9" * 5000, "٣", "2h"]
)
def test_other_text_is_no_version(text: str) -> None:
    with pytest.raises(InvalidUpdate, match="version: "):
        OrderUpdate(order_id=1, status="paid", version=parse_version(text))
