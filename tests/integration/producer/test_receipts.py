"""Receipts: a producer waits for the verdict of an update."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orderworks.core import keys
from orderworks.core.errors import WaitTimeout
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate, UpdateOutcome, Verdict
from producer import Producer
from tests.support.processes import eventually
from tests.support.producers import ProducerClient
from tests.support.tcp_proxy import link_to

UPDATE = OrderUpdate(order_id=2, total=1)


def give(stream: Redis, entry: str, verdict: Verdict, reason: str = "") -> None:
    """Publish a verdict as the drain does."""
    stream.set(keys.update_verdict(0, entry), UpdateOutcome(verdict, reason).encode(), ex=60)


def only_entry(stream: Redis) -> str:
    """Wait until one update is accepted; return its entry id."""
    entries: Any = eventually(lambda: stream.xrange(keys.update_stream(0)), 10, "no update")
    ((entry_id, _),) = entries
    return str(entry_id.decode())


def test_tracked_update_is_marked_in_its_entry(producer: Producer, stream: Redis) -> None:
    receipt = producer.update(UPDATE, track=True)
    entry = producer.update(UPDATE)
    assert stream.xrange(keys.update_stream(0)) == [
        (receipt.entry.encode(), {b"update": UPDATE.encode(), b"track": b"1"}),
        (entry.encode(), {b"update": UPDATE.encode()}),
    ]


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict.is_final])
def test_every_final_verdict_ends_the_wait(
    producer: Producer, stream: Redis, verdict: Verdict
) -> None:
    receipt = producer.update(UPDATE, track=True)
    give(stream, receipt.entry, verdict, "because")
    assert receipt.reason == ""
    assert receipt.wait(5) is verdict
    assert receipt.reason == "because"


def test_wait_continues_until_a_final_verdict(client: ProducerClient, stream: Redis) -> None:
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(client.verdict, UPDATE, 30)
        entry = only_entry(stream)
        before = polls(stream)
        eventually(lambda: polls(stream) > before + 2, 10, "it does not poll")
        give(stream, entry, Verdict.PARKED, "order 2 does not exist")
        before = polls(stream)
        eventually(lambda: polls(stream) > before + 2, 10, "parked is taken for the last word")
        assert not waiting.done()
        give(stream, entry, Verdict.DEAD, "order 2 does not exist")
        assert waiting.result(timeout=10) == (Verdict.DEAD, "order 2 does not exist")


def polls(stream: Redis) -> int:
    """Return the number of GET commands that the server has processed."""
    return int(stream.info("commandstats").get("cmdstat_get", {"calls": 0})["calls"])


def test_wait_times_out(client: ProducerClient) -> None:
    with pytest.raises(WaitTimeout, match="has no verdict after 0.2 s"):
        client.verdict(UPDATE, 0.2)


def test_received_verdict_is_remembered_by_the_receipt(producer: Producer, stream: Redis) -> None:
    receipt = producer.update(UPDATE, track=True)
    give(stream, receipt.entry, Verdict.STALE)
    assert receipt.wait(5) is Verdict.STALE
    stream.flushdb()
    assert receipt.wait(0) is Verdict.STALE


def test_existing_verdict_is_returned_without_waiting(producer: Producer, stream: Redis) -> None:
    receipt = producer.update(UPDATE, track=True)
    give(stream, receipt.entry, Verdict.APPLIED)
    assert receipt.wait(0) is Verdict.APPLIED


def test_wait_continues_while_the_server_is_unavailable(
    settings: Settings, stream: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with link_to(settings.stream) as link:
        monkeypatch.setenv("REDIS_URL", link.url)
        with Producer.from_settings() as producer:
            receipt = producer.update(UPDATE, track=True)
            give(stream, receipt.entry, Verdict.APPLIED)
            link.lose_answers()
            link.refuse_connections(3)
            assert receipt.wait(10) is Verdict.APPLIED
        assert (link.lost, link.refused) == (1, 3)


def test_a_receipt_names_its_entry(producer: Producer) -> None:
    receipt = producer.update(UPDATE, track=True)
    assert repr(receipt) == f"Receipt('{receipt.entry}')"
