"""docs/wire-format-vectors.json is what the code reads and writes; the page has what clients need."""

import base64
import json
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery

from orderworks.core import keys as names
from orderworks.core.errors import InvalidUpdate
from orderworks.core.routing import QUEUE_OF, TaskName
from orderworks.core.versions import entry_id, version_of
from orderworks.updates.messages import OrderUpdate, UpdateOutcome, decode_updates
from orderworks.updates.shard_layout import ShardLayout
from tests.support.processes import ROOT

DOCS = ROOT / "docs"
VECTORS: dict[str, Any] = json.loads((DOCS / "wire-format-vectors.json").read_text("utf-8"))
MEMBERS = ("order_id", "total", "status", "customer_id", "version")

Vector = dict[str, Any]


def document(vector: Vector) -> bytes:
    """Return the encoded update."""
    if "bytes" in vector:
        return base64.b64decode(vector["bytes"])
    return str(vector["document"]).encode()


def members(update: OrderUpdate | InvalidUpdate) -> Vector:
    """Return the fields of the update, with totals as text with two decimals."""
    assert isinstance(update, OrderUpdate), update
    said = {name: getattr(update, name) for name in MEMBERS}
    return said | {"total": None if update.total is None else f"{Decimal(update.total):f}"}


@pytest.mark.parametrize("vector", VECTORS["valid"])
def test_valid_document_decodes_equally_in_every_decoder(vector: Vector) -> None:
    read = OrderUpdate.decode(document(vector))
    assert members(read) == vector["update"]
    assert members(decode_updates([document(vector)])[0]) == vector["update"]
    assert members(decode_updates([read.encode()])[0]) == vector["update"], (
        "as our producer writes it"
    )


@pytest.mark.parametrize("vector", VECTORS["invalid"])
def test_invalid_document_is_refused_naming_its_member(vector: Vector) -> None:
    with pytest.raises(InvalidUpdate) as refused:
        OrderUpdate.decode(document(vector))
    assert refused.value.field == vector["field"]
    (read,) = decode_updates([document(vector)])
    assert isinstance(read, InvalidUpdate)
    assert read.field == vector["field"]


def test_documents_decoded_together_equal_documents_decoded_alone() -> None:
    vectors = [*VECTORS["valid"], *VECTORS["invalid"], *VECTORS["valid"]]
    read = decode_updates([document(each) for each in vectors])
    for vector, update in zip(vectors, read, strict=True):
        if "update" in vector:
            assert members(update) == vector["update"]
        else:
            assert isinstance(update, InvalidUpdate)


@pytest.mark.parametrize("vector", VECTORS["entries"])
def test_an_entrys_version_is_its_id(vector: Vector) -> None:
    assert version_of(vector["id"].encode()) == vector["version"]
    assert entry_id(vector["version"]) == vector["id"]


@pytest.mark.parametrize("vector", VECTORS["shards"])
def test_keys_are_those_of_the_orders_shard(vector: Vector) -> None:
    shard = vector["order_id"] % vector["shards"]
    assert shard == vector["shard"]
    assert names.update_stream(shard) == vector["stream"]
    assert names.update_nudge(shard) == vector["nudge"]
    assert names.update_layout(shard) == vector["layout"]
    assert names.update_verdict(shard, "5-10") == vector["verdict_of_5-10"]


@pytest.mark.parametrize("vector", VECTORS["layouts"])
def test_a_layout_is_one_number_or_two(vector: Vector) -> None:
    layout = ShardLayout(vector["shards"], vector["goal"])
    assert ShardLayout.decode(vector["said"].encode()) == layout
    assert layout.encode() == vector["said"].encode()


@pytest.mark.parametrize("vector", VECTORS["verdicts"])
def test_verdict_encoding_matches_the_documentation(vector: Vector) -> None:
    outcome = UpdateOutcome.decode(document(vector))
    assert (outcome.verdict, outcome.reason) == (vector["verdict"], vector["reason"])
    assert outcome.encode() == document(vector)


@pytest.mark.parametrize("vector", VECTORS["nudges"])
def test_nudge_body_equals_what_celery_writes(vector: Vector) -> None:
    queue = QUEUE_OF[TaskName.DRAIN_UPDATES].value
    with Celery(broker="memory://", set_as_current=False) as app:
        app.send_task(TaskName.DRAIN_UPDATES.value, args=(vector["shard"],), queue=queue)
        with app.connection_for_read() as connection:
            channel: Any = connection.default_channel
            message = channel.basic_get(queue)
    assert base64.b64encode(message.body).decode() == vector["body"]
    assert message.headers["task"] == TaskName.DRAIN_UPDATES


def test_documentation_names_every_key_and_task_clients_need() -> None:
    page = (DOCS / "wire-format.md").read_text("utf-8")
    keys = (names.update_stream(0), names.update_nudge(0), names.update_layout(0))
    assert all(key.replace("{0}", "{SHARD}") in page for key in keys)
    assert names.update_verdict(0, "ENTRY").replace("{0}", "{SHARD}") in page
    assert all(f"`{task.value}`" in page for task in TaskName)
