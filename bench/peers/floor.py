"""The bare loop: the fastest that servers and language allow, without a job system.

One stream per process, read by XREADGROUP; for each batch the newest update of each order, one UPDATE,
the UNLINKs in a pipeline, then XACK and XDEL. No verdicts, no ledger, no dead letters, no recovery.
"""

import os
import sys
from typing import Any

import msgspec
import redis

from bench.peers.clock import clock
from bench.peers.job import JobConnections
from bench.peers.sending import UpdateTuple, send_all

BATCH = 5000
STREAMS = 2
CHUNK = 1000
GROUP, CONSUMER = "floor", "floor"


class UpdateMessage(msgspec.Struct):
    """An update as it is encoded in a stream."""

    order_id: int
    total: str
    version: int


def work(number: int) -> None:
    """Apply the updates of a stream until the process is ended."""
    server = redis.Redis.from_url(os.environ["QUEUE_URL"])
    connections, stream = JobConnections(), _stream(number)
    decode = msgspec.json.Decoder(UpdateMessage).decode
    clock.start()
    while True:
        reply: Any = server.xreadgroup(GROUP, CONSUMER, {stream: ">"}, count=BATCH, block=1000)
        for _, entries in reply:
            rows = [decode(fields[b"update"]) for _, fields in entries]
            connections.update_many(_newest(rows))
            _acknowledge(server, stream, [entry_id for entry_id, _ in entries])
            clock.count(len(rows))


def send(updates: list[UpdateTuple]) -> None:
    """Append updates, a thousand per round trip."""
    server = redis.Redis.from_url(os.environ["QUEUE_URL"])
    for number in range(STREAMS):
        _make_group(server, _stream(number))
    for start in range(0, len(updates), CHUNK):
        with server.pipeline(transaction=False) as pipeline:
            for update in updates[start : start + CHUNK]:
                encoded = msgspec.json.encode(UpdateMessage(*update))
                pipeline.xadd(_stream(update[0] % STREAMS), {"update": encoded})
            pipeline.execute()


def _newest(rows: list[UpdateMessage]) -> str:
    """Return the last update of each order, encoded: a stream is in the order of versions here."""
    newest = {row.order_id: row for row in rows}
    ordered = [newest[order_id] for order_id in sorted(newest)]
    return msgspec.json.encode(ordered).decode()


def _acknowledge(server: "redis.Redis", stream: str, ids: list[bytes]) -> None:
    with server.pipeline(transaction=False) as pipeline:
        pipeline.xack(stream, GROUP, *ids)
        pipeline.xdel(stream, *ids)
        pipeline.execute()


def _stream(number: int) -> str:
    return f"floor:{number}"


def _make_group(server: "redis.Redis", stream: str) -> None:
    try:
        server.xgroup_create(stream, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(int(sys.argv[2]))
    send_all(send)
