"""The clocks of workers, compared with that of the Redis server of the streams."""

from collections.abc import Mapping
from typing import Any

from orderworks.core.redis import Redis
from orderworks_app.observability.snapshot import MAX_CLOCK_SKEW
from worker.celery import app
from worker.clock_report import COMMAND

REPLY_TIMEOUT = 1.0
"""Seconds that workers have to reply."""


def read_skews(client: Redis) -> dict[str, float]:
    """Return by how many seconds the clock of each worker is ahead of the server's, by worker.

    Without workers that reply, nothing is returned.
    """
    skews: dict[str, float] = {}
    earliest = _server_time(client)

    def compare(reply: Mapping[str, Any]) -> None:
        latest = _server_time(client)
        for worker, answer in reply.items():
            if "time" in answer:  # A worker that does not know the command replies with an error.
                skews[worker] = skew(float(answer["time"]), earliest, latest)

    app.control.broadcast(COMMAND, reply=True, timeout=REPLY_TIMEOUT, callback=compare)
    return skews


def skew(time: float, earliest: float, latest: float) -> float:
    """Return by how much a clock is ahead that had `time` between these two times of another one."""
    return min(0.0, time - earliest) + max(0.0, time - latest)


def agree(skews: Mapping[str, float]) -> bool:
    """Return whether all clocks are near enough to that of the server."""
    return all(abs(each) <= MAX_CLOCK_SKEW for each in skews.values())


def describe(skews: Mapping[str, float]) -> str:
    """Return the clock of each worker as a text."""
    return ", ".join(f"{worker} {seconds:+.1f} s" for worker, seconds in sorted(skews.items()))


def _server_time(client: Redis) -> float:
    seconds, microseconds = client.time()
    return float(seconds) + microseconds / 1e6
