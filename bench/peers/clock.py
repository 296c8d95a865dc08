"""The clock of a side's workers: their common start, and the number and time of their jobs.

The first job of each process waits until all processes have one: so starting, importing and connecting
are not measured. After that a process counts its jobs in memory and keeps the time of the last one; a
thread publishes both periodically, so that counting costs a job nothing.
"""

import os
import threading
import time
from typing import Any

import redis

READY, GO, DONE = "bench:ready", "bench:go", "bench:done"
"""Redis keys: the list of waiting processes; a list with a start token for each; a hash of reports."""

INTERVAL = 0.05
"""Seconds between two reports of a process."""


class Clock:
    """The clock of one process. Its threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = False
        self._jobs = 0
        self._last = 0.0

    def start(self) -> None:
        """Wait for the other processes if this is the process's first job."""
        if not self._started:
            with self._lock:
                if not self._started:
                    self._wait()
                    self._started = True

    def count(self, jobs: int) -> None:
        """Count finished jobs: committed, with cached reads invalidated."""
        with self._lock:
            self._jobs += jobs
            self._last = time.monotonic()

    def _wait(self) -> None:
        # Without a limit: on a busy machine other processes take longer than a client waits by default.
        server = redis.Redis.from_url(os.environ["CLOCK_URL"], socket_timeout=None)
        server.rpush(READY, os.getpid())
        server.blpop([GO])
        threading.Thread(target=self._report, args=(server,), daemon=True).start()

    def _report(self, server: Any) -> None:  # noqa: ANN401 - a client of any release
        published = 0
        while True:
            with self._lock:
                jobs, last = self._jobs, self._last
            if jobs > published:
                server.hset(DONE, os.getpid(), f"{jobs} {last!r}")
                published = jobs
            time.sleep(INTERVAL)


clock = Clock()
