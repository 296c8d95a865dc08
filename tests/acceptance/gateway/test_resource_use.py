"""Resources of a gateway process: memory and CPU of unread streams and large uploads; its shutdown."""

import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from orderworks.core.settings import Settings
from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.gateway.server import SHUTDOWN_GRACE
from tests.support.processes import eventually

STREAMS = 1000

MOST_MEMORY = 100 << 20
"""Bytes of memory that all idle streams may take together."""

LINE = b"event: overview"

CSV = {"Content-Type": "text/csv"}

LARGE = 256 << 20
"""Bytes of a large file."""

MOST_FOR_A_FILE = 64 << 20
"""Bytes of memory that its upload may take: the pieces that are being written to the spool."""


@pytest.fixture
def many_files() -> Iterator[None]:
    """Raise the limit of open files of this process and its children above the number of streams."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * STREAMS)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def process(
    settings: Settings, gateway_port: int, tmp_path: Path, many_files: None
) -> Iterator[psutil.Process]:
    """The process of the gateway, once it is ready."""
    command = (sys.executable, "-m", "orderworks_app", "gateway", "--port", str(gateway_port))
    with (tmp_path / "gateway.log").open("wb") as log, subprocess.Popen(command, stderr=log) as run:
        try:
            eventually(lambda: answers(gateway_port), 30, "it does not answer")
            yield psutil.Process(run.pid)
        finally:
            run.kill()


def answers(gateway_port: int) -> bool:
    """Return whether the gateway is ready."""
    try:
        return httpx.get(f"http://{LOOPBACK}:{gateway_port}/readyz", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def listening(gateway_port: int, path: str = "/v1/overview/events") -> Iterator[socket.socket]:
    """A connection on which events were requested; the caller may read them or not."""
    with socket.create_connection((LOOPBACK, gateway_port), timeout=30) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n\r\n"
        connection.sendall(request.encode())
        yield connection


def read_until(connection: socket.socket, expected: bytes) -> None:
    """Read until the server has sent this."""
    received = b""
    while expected not in received:
        piece = connection.recv(1 << 16)
        assert piece, f"it ended with {received[-200:]!r}"
        received = received[-len(expected) :] + piece


def test_thousand_idle_streams_use_little_memory_and_block_no_request(
    process: psutil.Process, gateway_port: int
) -> None:
    with listening(gateway_port) as first:
        read_until(first, LINE)
        before = process.memory_info().rss
    with ExitStack() as stack:
        streams = [stack.enter_context(listening(gateway_port)) for _ in range(STREAMS)]
        for each in streams:
            read_until(each, LINE)
        # From here on no stream is read; each is sent an event per second all the same.
        started = process.cpu_times()
        lasted = quickest_of(gateway_port, 5)
        taken = process.memory_info().rss - before
        spent = process.cpu_times().user - started.user
        print(f"{taken >> 20} MiB, {1000 * lasted:.1f} ms, {spent:.2f} s of CPU")  # noqa: T201
        assert taken < MOST_MEMORY
        assert lasted < 1
        assert len(process.net_connections()) >= STREAMS
    eventually(lambda: len(process.net_connections()) < 50, 20, "streams outlived their clients")


def quickest_of(gateway_port: int, count: int) -> float:
    """Seconds of the fastest of `count` requests, one after each event."""
    took = []
    with httpx.stream(
        "GET", f"http://{LOOPBACK}:{gateway_port}/v1/overview/events", timeout=30
    ) as stream:
        lines = stream.iter_lines()
        for _ in range(count):
            next(line for line in lines if line.startswith("data:"))
            started = time.monotonic()
            assert httpx.get(f"http://{LOOPBACK}:{gateway_port}/healthz", timeout=30).is_success
            took.append(time.monotonic() - started)
    return min(took)


def test_large_upload_uses_bounded_memory(
    process: psutil.Process, gateway_port: int, settings: Settings
) -> None:
    url = f"http://{LOOPBACK}:{gateway_port}/v1/imports"
    httpx.post(url, content=file_of(1 << 20), headers=CSV, timeout=30)
    before, most = process.memory_info().rss, [0]
    with watched(process, most):
        accepted = httpx.post(url, content=file_of(LARGE), headers=CSV, timeout=60)
    assert accepted.status_code == 202
    print(f"{(most[0] - before) >> 20} MiB for a file of {LARGE >> 20} MiB")  # noqa: T201
    assert most[0] - before < MOST_FOR_A_FILE
    (data,) = Path(urlsplit(settings.spool).path).glob(f"data/{accepted.json()['id']}")
    assert data.stat().st_size >= LARGE


def file_of(size: int) -> Iterator[bytes]:
    """A file of orders of at least this number of bytes, generated while it is sent."""
    yield b"id,customer_id,total\n"
    piece = b"1234567,42,19.99\n" * 4096
    for _ in range(size // len(piece) + 1):
        yield piece


@contextmanager
def watched(process: psutil.Process, most: list[int]) -> Iterator[None]:
    """Record the peak memory of a process during the block."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            most[0] = max(most[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_event_streams_are_closed_cleanly_on_shutdown(
    process: psutil.Process, gateway_port: int, number: signal.Signals
) -> None:
    url = f"http://{LOOPBACK}:{gateway_port}/v1/overview/events"
    with httpx.stream("GET", url, timeout=30) as stream:
        lines = stream.iter_lines()
        next(line for line in lines if line.startswith("data:"))
        started = time.monotonic()
        process.send_signal(number)
        assert all(line.partition(":")[0] in ("", "event", "id", "data") for line in lines)
    process.wait(timeout=20)
    assert time.monotonic() - started < SHUTDOWN_GRACE, (
        "it waited for the streams until its patience ended"
    )
