"""How the workers of a side start together, and how it is known what they have done.

The first job of each process waits until all processes have one: starting up, importing and connecting
are over by then. Afterwards a process counts its jobs in memory and keeps the moment of the last one; a
thread of its own tells both to the benchmark now and then, so that no job pays for being counted.
"""

import os
import threading
import time
from typing import Any

import redis

READY, GO, DONE = "bench:ready", "bench:go", "bench:done"
"""Processes that wait; a token for each of them to begin; what each has done by now."""

INTERVAL = 0.05
"""Seconds between two reports."""


class Clock:
    """The clock of one process. Its threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = False
        self._jobs = 0
        self._last = 0.0

    def start(self) -> None:
        """Wait for the other processes, if this is the first job; return at once if it is not."""
        if not self._started:
            with self._lock:
                if not self._started:
                    self._wait()
                    self._started = True

    def count(self, jobs: int) -> None:
        """Note that so many jobs are done: committed, and the cached reads dropped."""
        with self._lock:
            self._jobs += jobs
            self._last = time.monotonic()

    def _wait(self) -> None:
        server = redis.Redis.from_url(os.environ["CLOCK_URL"])
        server.rpush(READY, os.getpid())
        server.blpop([GO])
        threading.Thread(target=self._report, args=(server,), daemon=True).start()

    def _report(self, server: Any) -> None:  # noqa: ANN401 - a client of any release
        told = 0
        while True:
            with self._lock:
                jobs, last = self._jobs, self._last
            if jobs > told:
                server.hset(DONE, os.getpid(), f"{jobs} {last!r}")
                told = jobs
            time.sleep(INTERVAL)


clock = Clock()
