"""The producer: what it accepts is in the stream, what it refuses is nowhere, and it never hangs."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orderworks.core import keys
from orderworks.core.redis import Redis, make_redis
from orderworks.core.routing import Queue
from orderworks.core.settings import Settings
from orderworks.imports.manifest import Manifest
from orderworks.imports.progress import publish_progress
from orderworks.imports.spool import Spool
from orderworks.updates.stream import UpdateStream
from producer import (
    Backpressure,
    ConfigurationError,
    ImportJob,
    InvalidFile,
    InvalidInput,
    InvalidUpdate,
    OrderUpdate,
    PartlyAccepted,
    Producer,
    Unavailable,
)
from producer.imports import deduplication
from producer.imports.accept import accept_import
from producer.imports.options import ImportOptions
from producer.imports.sources.jsonl_header import HEADER_SCAN_BYTES


def some(count: int) -> list[OrderUpdate]:
    """Yield an update for each of `count` orders."""
    return [OrderUpdate(order_id=key, total=key) for key in range(1, count + 1)]


def test_update_is_in_its_shard_under_the_returned_id(
    producer: Producer, updates: UpdateStream
) -> None:
    update = OrderUpdate(order_id=7, total="19.99")
    entry_id = producer.update(update)
    (entry,) = updates.read(updates.shard_of(7), 10)
    assert entry.id.decode() == entry_id
    assert OrderUpdate.decode(entry.payload) == update


def test_one_nudge_is_sent_for_many_updates(
    producer: Producer, settings: Settings, stream: Redis
) -> None:
    for _ in range(5):
        producer.update(OrderUpdate(order_id=2, total=1))
    with make_redis(settings.broker, 5) as broker:
        assert broker.llen(Queue.UPDATES) == 1
    assert 0 < stream.ttl(keys.update_nudge(0)) <= 10


def test_update_many_accepts_any_iterable_in_order(
    producer: Producer, updates: UpdateStream
) -> None:
    assert producer.update_many(iter(some(2500))) == 2500
    for shard in range(updates.shards):
        found = [OrderUpdate.decode(entry.payload).order_id for entry in updates.read(shard, 5000)]
        assert found == [key for key in range(1, 2501) if key % updates.shards == shard]


def test_update_many_of_empty_iterable_returns_zero(producer: Producer) -> None:
    assert producer.update_many([]) == 0


def test_full_stream_refuses_updates_and_keeps_accepted_ones(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, updates: UpdateStream
) -> None:
    monkeypatch.setenv("STREAM_LIMIT", "1000")
    assert settings.update_shards == 2
    with Producer.from_settings() as producer:
        with pytest.raises(PartlyAccepted) as stopped:
            producer.update_many(some(5000))
        assert isinstance(stopped.value.__cause__, Backpressure)
        assert stopped.value.accepted == 2000 == updates.length(0) + updates.length(1)
        assert stopped.value.refused == some(3000)[2000:]
        assert not stopped.value.uncertain
        with pytest.raises(Backpressure, match="STREAM_LIMIT"):
            producer.update(OrderUpdate(order_id=1, total=1))


def test_failing_iterable_reports_accepted_count(producer: Producer, updates: UpdateStream) -> None:
    def failing() -> Iterator[OrderUpdate]:
        yield from some(1500)
        raise LookupError("no more")

    with pytest.raises(PartlyAccepted, match="no more") as stopped:
        producer.update_many(failing())
    assert stopped.value.accepted == 1500 == updates.length(0) + updates.length(1)


def test_non_update_is_refused_before_sending(producer: Producer, updates: UpdateStream) -> None:
    with pytest.raises(InvalidUpdate, match="dict is not an OrderUpdate"):
        producer.update({"order_id": 1})  # type: ignore[call-overload]
    with pytest.raises(InvalidUpdate):
        producer.update_many(["x"])  # type: ignore[list-item]
    assert updates.length(0) + updates.length(1) == 0


def test_unavailable_server_is_named_at_once(settings: Settings) -> None:
    assert settings.redis_timeout == 5
    with Producer(redis_url="redis://:secret@127.0.0.1:1/0") as producer:
        with pytest.raises(
            Unavailable, match=r"Redis cannot be used: .*127\.0\.0\.1:1\."
        ) as raised:
            producer.update(OrderUpdate(order_id=1, total=1))
        assert "secret" not in str(raised.value)
        with pytest.raises(Unavailable):
            producer.import_file(b"id,name\n1,Ada\n", kind="customers")


def test_unresponsive_server_makes_updates_uncertain_in_time(
    settings: Settings, silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.stream
    monkeypatch.setenv("REDIS_TIMEOUT", "0.5")
    began = time.monotonic()
    with Producer(redis_url=silent_server) as producer:
        with pytest.raises(PartlyAccepted) as lost:
            producer.update_many(some(10))
        assert (lost.value.accepted, lost.value.refused, lost.value.uncertain) == (0, some(10), [])
    assert time.monotonic() - began < 5


@pytest.mark.slow
def test_unavailable_broker_loses_no_update(settings: Settings, updates: UpdateStream) -> None:
    assert settings.stream
    with Producer(broker_url="redis://127.0.0.1:1/0") as producer:
        producer.update(OrderUpdate(order_id=2, total=1))
    assert updates.length(0) == 1


def test_invalid_address_error_names_the_variable(settings: Settings) -> None:
    assert settings.stream
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        Producer(redis_url="http://wrong")


def test_threads_can_share_a_producer(producer: Producer, updates: UpdateStream) -> None:
    threads = [threading.Thread(target=producer.update_many, args=(some(500),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert updates.length(0) + updates.length(1) == 2000


def test_connection_closed_by_the_server_is_replaced(
    producer: Producer, stream: Redis, updates: UpdateStream
) -> None:
    producer.update(OrderUpdate(order_id=2, total=1))
    closed = stream.client_kill_filter(_type="normal", skipme=True)
    assert closed >= 1
    producer.update(OrderUpdate(order_id=4, total=1))
    assert updates.length(0) == 2


CUSTOMERS = b"id,name\n1,Ada\n"


def spooled(settings: Settings) -> set[str]:
    """The ids of the imports whose data are in the spool."""
    return {file.name for file in (settings.orderworks_home / "spool" / "data").iterdir()}


def manifest(settings: Settings, job: ImportJob) -> Manifest:
    found = Spool(settings.spool).manifest(job.id)
    assert found
    return found


def end(stream: Redis, job: ImportJob, status: str) -> None:
    """Publish that the import ended with this status."""
    summary = job.progress()
    assert summary
    publish_progress(stream, {**summary, "status": status, "steps": summary["steps"] + 1})


def test_same_content_returns_the_first_import(
    producer: Producer, settings: Settings, stream: Redis
) -> None:
    first = producer.import_file(CUSTOMERS, kind="customers")
    second = producer.import_file(CUSTOMERS, kind="customers")
    assert (first.repeated, second.repeated, second.id) == (False, True, first.id)
    assert spooled(settings) == {first.id}
    end(stream, first, "done")
    assert producer.import_file(CUSTOMERS, kind="customers").id == first.id


@pytest.mark.parametrize(
    "otherwise",
    [
        {"strict": True},
        {"mapping": {"email": "mail"}},
        {"parent": "20261122-000000-00000000", "mapping": {}},
        {"again": True},
        {"dry_run": True},
    ],
)
def test_same_content_with_other_options_is_another_import(
    producer: Producer, otherwise: dict[str, Any]
) -> None:
    content = b"id,name,mail,line\n1,Ada,,2\n"
    first = producer.import_file(content, kind="customers")
    other = producer.import_file(content, kind="customers", **otherwise)
    assert not other.repeated
    assert other.id != first.id


def test_repeat_forced_by_again_becomes_the_returned_import(producer: Producer) -> None:
    producer.import_file(CUSTOMERS, kind="customers")
    second = producer.import_file(CUSTOMERS, kind="customers", again=True)
    assert producer.import_file(CUSTOMERS, kind="customers").id == second.id


def test_dry_run_is_not_returned_for_a_later_import(producer: Producer) -> None:
    producer.import_file(CUSTOMERS, kind="customers", dry_run=True)
    assert not producer.import_file(CUSTOMERS, kind="customers").repeated


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_content_of_failed_or_cancelled_import_is_imported_again(
    producer: Producer, stream: Redis, status: str
) -> None:
    first = producer.import_file(CUSTOMERS, kind="customers")
    end(stream, first, status)
    assert not producer.import_file(CUSTOMERS, kind="customers").repeated


def test_content_of_expired_import_is_imported_again(producer: Producer, stream: Redis) -> None:
    first = producer.import_file(CUSTOMERS, kind="customers")
    stream.delete(keys.import_progress(first.id))
    assert not producer.import_file(CUSTOMERS, kind="customers").repeated


def test_concurrent_imports_of_one_file_create_one_import(
    producer: Producer, settings: Settings
) -> None:
    with ThreadPoolExecutor(8) as threads:
        tries = [
            threads.submit(producer.import_file, CUSTOMERS, kind="customers") for _ in range(16)
        ]
        jobs = [each.result() for each in tries]
    assert len({job.id for job in jobs}) == 1
    assert [job.repeated for job in jobs].count(False) == 1
    assert spooled(settings) == {jobs[0].id}


def test_content_claim_of_killed_producer_expires_in_seconds(
    producer: Producer, stream: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deduplication, "CLAIM_TTL", 1)
    first = producer.import_file(CUSTOMERS, kind="customers")
    (claim,) = stream.scan_iter("orders:import-content:*")
    stream.set(claim, "20261122-000000-00000000", ex=1)
    second = producer.import_file(CUSTOMERS, kind="customers")
    assert (second.repeated, second.id == first.id) == (False, False)


def test_all_import_options_are_in_the_manifest(producer: Producer, settings: Settings) -> None:
    content = b"id;customer_id;o_total\n1;1;1\n"
    job = producer.import_file(
        content, mapping={"total": "o_total"}, max_rejects=7, create_customers=True, dry_run=True
    )
    found = manifest(settings, job)
    assert (found.kind, found.delimiter, found.max_rejects) == ("orders", ";", 7)
    assert (found.create_customers, found.dry_run, found.strict) == (True, True, False)
    assert found.mapping == {"id": "id", "customer_id": "customer_id", "total": "o_total"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "people"}, "'people' cannot be imported"),
        ({"max_rejects": -1}, "max_rejects: -1"),
        ({"max_rejects": 2**63}, "max_rejects: 9223372036854775808"),
        ({"parent": "a\0b", "kind": "orders", "mapping": {}}, "parent: 'a.x00b' is not the id"),
        ({"strict": True, "max_rejects": 1}, "strict and max_rejects"),
        ({"kind": "customers", "create_customers": True}, "create_customers"),
        ({"parent": "x", "kind": "orders", "mapping": {}, "dry_run": True}, "parent and dry_run"),
        ({"keep": True}, "keep"),
    ],
)
def test_contradictory_options_are_refused_before_reading_the_file(
    producer: Producer, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        producer.import_file("nowhere.csv", **options)


def test_corrections_use_kind_and_mapping_of_their_parent(
    producer: Producer, settings: Settings
) -> None:
    mapping = {"name": "=c_name"}
    parent = producer.import_file(b"id;=c_name\n1;\n", kind="customers", mapping=mapping)
    sheet = b"id,'=c_name,line,column,code,reason,raw\n1,Ada,2,name,missing,,\n"
    child = manifest(settings, producer.import_file(sheet, parent=parent.id))
    assert (child.kind, child.parent, child.delimiter) == ("customers", parent.id, ",")
    assert child.mapping == {"id": "id", "name": "=c_name", "line": "line"}
    grandchild = producer.import_file(b"id,=c_name,line,reject_line\n1,Ada,2,2\n", parent=child.id)
    assert manifest(settings, grandchild).mapping["line"] == "reject_line"
    with pytest.raises(InvalidFile, match="no column 'line'"):
        producer.import_file(b"id,=c_name\n1,Ada\n", parent=parent.id)


def test_corrections_inherit_create_customers(producer: Producer, settings: Settings) -> None:
    mapping = {"customer_name": "who"}
    content = b"id,customer_id,total,who\n1,1,x,Ada\n"
    parent = producer.import_file(content, create_customers=True, mapping=mapping)
    sheet = content.replace(b"who", b"who,line").replace(b"x,Ada", b"1,Ada,2")
    child = manifest(settings, producer.import_file(sheet, parent=parent.id))
    assert child.create_customers
    assert child.mapping["customer_name"] == "who"


def test_corrections_of_expired_parent_need_kind_and_mapping(
    producer: Producer, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet = b"id,c_name,line\n1,Ada,2\n"
    parent, mapping = "20261122-000000-00000000", {"name": "c_name"}
    for stated in ({}, {"kind": "customers"}, {"mapping": mapping}):
        with pytest.raises(InvalidInput, match=f"mapping of import {parent} are no longer known"):
            producer.import_file(sheet, parent=parent, **stated)
    job = producer.import_file(sheet, parent=parent, kind="customers", mapping=mapping)
    assert manifest(settings, job).mapping["name"] == "c_name"
    preset = "[erp]\nkind = 'customers'\ndelimiter = ';'\n[erp.map]\nname = 'c_name'\n"
    (tmp_path / "imports.toml").write_text(preset)
    monkeypatch.chdir(tmp_path)
    job = producer.import_file(sheet, parent=parent, preset="erp", again=True)
    assert manifest(settings, job).delimiter == ",", "the sheet's, not that of the preset's files"


def test_failed_acceptance_leaves_neither_data_nor_claim(
    producer: Producer, settings: Settings, stream: Redis
) -> None:
    class Broken(Spool):
        def write_manifest(self, manifest: Manifest) -> None:
            super().write_manifest(manifest)
            raise MemoryError

    content = ImportOptions(kind="customers")
    broken = Broken(settings.spool)
    with pytest.raises(MemoryError):
        accept_import(CUSTOMERS, content, spool=broken, stream=stream, settings=settings)
    assert (spooled(settings), broken.list_waiting()) == (set(), [])
    assert not list(stream.scan_iter("orders:import-content:*"))
    assert not producer.import_file(CUSTOMERS, kind="customers").repeated


def test_optional_json_lines_keys_may_appear_in_later_records(
    producer: Producer, settings: Settings
) -> None:
    early = b'{"id": 1, "customer_id": 1, "total": 1, "x": 1}\n'
    content = early * (2 * HEADER_SCAN_BYTES // len(early)) + early.replace(b"x", b"status")
    mapping = {"updated_at": "changed", "customer_name": "who"}
    job = producer.import_file(content, mapping=mapping, create_customers=True)
    found = manifest(settings, job)
    assert found.header[:5] == ["id", "customer_id", "total", "x", "status"]
    late = {
        "status": "status",
        "version": "version",
        "updated_at": "changed",
        "customer_name": "who",
    }
    assert late.items() <= found.mapping.items()
    assert set(found.mapping.values()) <= set(found.header)
    with pytest.raises(InvalidFile, match="has no column 'sum' .for 'total'.; its columns are id"):
        producer.import_file(content, mapping={"total": "sum"})
    with pytest.raises(InvalidFile, match="has a NUL or a lone surrogate in it"):
        producer.import_file(content, mapping={"status": "a\0b"})


def test_names_of_customers_to_create_come_from_their_own_column(
    producer: Producer, settings: Settings
) -> None:
    content = b"id,customer_id,total,who\n1,1,1,Ada\n"
    named = {"mapping": {"customer_name": "who"}}
    job = producer.import_file(content, create_customers=True, **named)  # type: ignore[arg-type]
    assert manifest(settings, job).mapping["customer_name"] == "who"
    with pytest.raises(InvalidFile, match="no column 'absent'"):
        producer.import_file(content, create_customers=True, mapping={"customer_name": "absent"})


def test_preset_supplies_options_that_are_not_given(
    producer: Producer, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imports.toml").write_text(
        "[erp]\nkind = 'customers'\nmax_rejects = 5\n[erp.map]\nname = 'c_name'\nemail = 'c_mail'\n"
    )
    monkeypatch.chdir(tmp_path)
    content = b"id,c_name,c_mail,mail\n1,Ada,a@b,c@d\n"
    job = producer.import_file(content, preset="erp", mapping={"email": "mail"}, max_rejects=0)
    found = manifest(settings, job)
    assert (found.kind, found.max_rejects) == ("customers", 0)
    assert found.mapping == {"id": "id", "name": "c_name", "email": "mail"}
    job = producer.import_file(content, preset="erp", strict=True)
    found = manifest(settings, job)
    assert (found.strict, found.max_rejects) == (True, None), "what is given counts"
    with pytest.raises(ConfigurationError, match="has no preset 'crm'"):
        producer.import_file(content, preset="crm")


def test_importing_producer_loads_neither_sqlalchemy_polars_nor_worker() -> None:
    heavy = ("sqlalchemy", "psycopg2", "polars", "alembic", "worker", "tasks", "celeryconfig")
    code = f"import sys, producer; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "address", ["redis://127.0.0.1:1/no-number", "filesystem:///nowhere", "sqs://x"]
)
def test_accepted_work_raises_nothing_whatever_the_broker_raises(
    address: str, settings: Settings, updates: UpdateStream, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), Producer(broker_url=address) as producer:
        producer.update(OrderUpdate(order_id=2, total=1))
        producer.update_many([OrderUpdate(order_id=1, total=1)])
        job = producer.import_file(b"id,customer_id,total\n1,1,5\n")
    assert Spool(settings.spool).list_waiting() == [job.id]
    assert [updates.length(shard) for shard in updates.all_shards()] == [1, 1]
    assert caplog.text.count("nudge_deferred to=sweep") == 3
