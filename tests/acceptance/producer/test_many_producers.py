"""Eight producers at once, threads and processes, sync and async: versions decide the table.

ORDERWORKS_TEST_UPDATES is the number of updates; a million take a few minutes.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
import sqlalchemy as sa

from orderworks.core.settings import Settings
from tests.support.celery_inspection import is_drained
from tests.support.oracle import (
    ExpectedRows,
    differences,
    make_rows,
    read_orders,
    read_verdicts,
    write_orders,
)
from tests.support.processes import ROOT, CeleryProcess, eventually
from tests.support.sender_process import Share, expected_values, send, send_async

UPDATES = int(os.environ.get("ORDERWORKS_TEST_UPDATES", "200000"))
ORDERS = UPDATES // 5
SHARES = [Share(number, UPDATES // 8, ORDERS) for number in range(8)]
VERSION_BEFORE = 5


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    """Four shards; a busy machine may be slow to connect."""
    return {"UPDATE_SHARDS": "4", "REDIS_TIMEOUT": "60"}


@pytest.fixture(scope="module")
def concurrency() -> int:
    """One process of the worker for each shard."""
    return 4


@pytest.mark.timeout(600)
def test_highest_version_of_each_order_counts_for_any_producer(
    engine: sa.Engine, settings: Settings, worker: CeleryProcess
) -> None:
    before: ExpectedRows = {
        key: (*row[:3], VERSION_BEFORE) for key, row in make_rows(ORDERS).items()
    }
    write_orders(engine, before)
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        processes = [
            stack.enter_context(started(kind, share))
            for kind, share in zip(("sync", "sync", "async", "async"), SHARES[:4], strict=True)
        ]
        sent = [threads.submit(send, share) for share in SHARES[4:6]]
        sent += [threads.submit(asyncio.run, send_async(share)) for share in SHARES[6:]]
        for each in sent:
            each.result(timeout=500)
        assert [process.wait(timeout=500) for process in processes] == [0, 0, 0, 0]
    eventually(lambda: is_drained(settings), 300, "updates wait")
    assert not differences(read_orders(engine), expected(before))
    counted = read_verdicts(engine)
    assert counted["accepted"] == sum(share.size for share in SHARES)
    assert counted["accepted"] == counted["effective"] + counted["stale"] + counted["duplicate"]
    assert min(counted["effective"], counted["stale"], counted["duplicate"]) > 0


@contextmanager
def started(kind: str, share: Share) -> Iterator[subprocess.Popen[bytes]]:
    """A producer in a process of its own, which is gone at the end."""
    command = [sys.executable, "-m", "tests.support.sender_process", kind, *map(str, share)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def expected(before: ExpectedRows) -> ExpectedRows:
    """Each order as its highest version has it."""
    rows = dict(before)
    for share in SHARES:
        for order_id, version in share.pairs():
            who, _status, _total, current = rows[order_id]
            if version >= (current or 0):  # at equal versions the one accepted later counts
                total, status = expected_values(order_id, version)
                rows[order_id] = (who, status, total, version)
    return rows
