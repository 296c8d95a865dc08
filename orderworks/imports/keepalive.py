"""Keeps a transaction alive while its worker reads files, so that PostgreSQL ends it only if it freezes.

PostgreSQL ends a session that sends no statement within a transaction for `MAX_IDLE_IN_TRANSACTION`. So
plans and chunks send one every few seconds while they wait for the spool, or read a long file.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

INTERVAL = 3.0
"""Seconds between two signs of life: several are missed before PostgreSQL ends the session."""

Keepalive = Callable[[], None]
"""To be called often. It sends a sign of life if the last one is `INTERVAL` old."""

Answer = TypeVar("Answer")


def keep_alive(*calls: Callable[[], object]) -> Keepalive:
    """Return a function that makes the calls, each a sign of life, unless it did so a moment ago."""
    last_sign = -INTERVAL

    def sign() -> None:
        nonlocal last_sign
        if time.monotonic() - last_sign >= INTERVAL:
            last_sign = time.monotonic()
            for call in calls:
                call()

    return sign


def wait_alive(request: Callable[[], Answer], sign: Keepalive) -> Answer:
    """Return the answer to a request, which is made in a thread; give signs of life until then.

    The request must end in a bounded time: an error of `sign` is raised after it has ended.
    """
    sign()
    with ThreadPoolExecutor(1) as pool:
        answer: Future[Answer] = pool.submit(request)
        while not wait([answer], timeout=INTERVAL).done:
            sign()
        return answer.result()
