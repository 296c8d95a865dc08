"""Streams of events of a gateway in a process of its own: many that nobody reads, and when it stops."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from orders.settings import Settings
from orderworks.embedded.home import open_home
from orderworks.embedded.ports import LOOPBACK, port_of
from orderworks.gateway.server import GRACE
from tests.processes import eventually

STREAMS = 1000

MOST_MEMORY = 100 << 20
"""Bytes that so many idle streams may take together."""

LINE = b"event: overview"


@pytest.fixture
def port(tmp_path: Path) -> int:
    """A port that is free."""
    return port_of(open_home(tmp_path), "gateway")


@pytest.fixture
def process(settings: Settings, port: int, tmp_path: Path) -> Iterator[psutil.Process]:
    """The gateway, when it answers."""
    command = (sys.executable, "-m", "orderworks", "gateway", "--port", str(port))
    with (tmp_path / "gateway.log").open("wb") as log, subprocess.Popen(command, stderr=log) as run:
        try:
            eventually(lambda: answers(port), 30, "it does not answer")
            yield psutil.Process(run.pid)
        finally:
            run.kill()


def answers(port: int) -> bool:
    """Whether the gateway does."""
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/readyz", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def listening(port: int, path: str = "/v1/overview/events") -> Iterator[socket.socket]:
    """A connection that asked for events; who has it may read them, or not."""
    with socket.create_connection((LOOPBACK, port), timeout=30) as connection:
        asked = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n"
        connection.sendall(asked.encode())
        yield connection


def hear(connection: socket.socket, said: bytes) -> None:
    """Read until the server said this."""
    heard = b""
    while said not in heard:
        piece = connection.recv(1 << 16)
        assert piece, f"it ended with {heard[-200:]!r}"
        heard = heard[-len(said) :] + piece


def test_a_thousand_idle_streams_cost_little_and_hold_up_nobody(
    process: psutil.Process, port: int
) -> None:
    with listening(port) as first:
        hear(first, LINE)
        before = process.memory_info().rss
    with ExitStack() as stack:
        streams = [stack.enter_context(listening(port)) for _ in range(STREAMS)]
        for each in streams:
            hear(each, LINE)
        # From here on nobody reads; each gets an event a second all the same.
        began = process.cpu_times()
        lasted = quickest_of(port, 5)
        taken = process.memory_info().rss - before
        spent = process.cpu_times().user - began.user
        print(f"{taken >> 20} MiB, {1000 * lasted:.1f} ms, {spent:.2f} s of CPU")  # noqa: T201
        assert taken < MOST_MEMORY
        assert lasted < 1
        assert len(process.net_connections()) >= STREAMS
    eventually(lambda: len(process.net_connections()) < 50, 20, "streams outlived their clients")


def quickest_of(port: int, count: int) -> float:
    """Seconds of the quickest of so many requests, one after each event."""
    took = []
    with httpx.stream("GET", f"http://{LOOPBACK}:{port}/v1/overview/events", timeout=30) as told:
        lines = told.iter_lines()
        for _ in range(count):
            next(line for line in lines if line.startswith("data:"))
            began = time.monotonic()
            assert httpx.get(f"http://{LOOPBACK}:{port}/healthz", timeout=30).is_success
            took.append(time.monotonic() - began)
    return min(took)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_streams_end_in_good_order_when_the_gateway_stops(
    process: psutil.Process, port: int, number: signal.Signals
) -> None:
    url = f"http://{LOOPBACK}:{port}/v1/overview/events"
    with httpx.stream("GET", url, timeout=30) as told:
        lines = told.iter_lines()
        next(line for line in lines if line.startswith("data:"))
        began = time.monotonic()
        process.send_signal(number)
        assert all(line.partition(":")[0] in ("", "event", "id", "data") for line in lines)
    process.wait(timeout=20)
    assert time.monotonic() - began < GRACE, "it waited for the streams until its patience ended"
