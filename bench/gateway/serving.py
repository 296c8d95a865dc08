"""Programs that a benchmark runs in addition to its stack: HTTP servers, and a link with latency."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bench import ROOT
from bench.alternate import SideFailed
from orderworks_app.embedded.ports import LOOPBACK

STARTING, STOPPING = 30.0, 10.0
"""Seconds that a program may take to accept connections, and to end."""

ServerProcess = subprocess.Popen[str]


@contextmanager
def served(*arguments: str, **environment: str) -> Iterator[int]:
    """Run a program with a free port as its last argument; yield the port.

    Raises:
        SideFailed: it does not accept connections.
    """
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = int(listener.getsockname()[1])
    with _running(*arguments, str(port), **environment) as process:
        _wait(process, port)
        yield port


@contextmanager
def slow_link(url: str, seconds: float) -> Iterator[str]:
    """Yield the address of a server through a link that adds these seconds to a round trip.

    Raises:
        SideFailed: the link does not start.
    """
    with _running("-m", "bench.gateway.slow_link", url, str(seconds)) as process:
        address = process.stdout.readline().strip() if process.stdout else ""
        if not address:
            raise SideFailed("the link to the server ended")
        yield address


@contextmanager
def _running(*arguments: str, **environment: str) -> Iterator[ServerProcess]:
    with subprocess.Popen(  # noqa: S603 - programs of the benchmarks
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOPPING)
            process.kill()


def _wait(process: ServerProcess, port: int) -> None:
    deadline = time.monotonic() + STARTING
    while True:
        with suppress(OSError), socket.create_connection((LOOPBACK, port)):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise SideFailed(f"no server accepts connections at port {port}")
        time.sleep(0.02)
