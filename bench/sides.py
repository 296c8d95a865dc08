"""Sides of a comparison, measured in turns."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from orders.errors import OrderworksError


class SideFailed(OrderworksError):
    """A side that is not ours could not be measured, or did the job wrongly; says why."""


class Result(msgspec.Struct, frozen=True):
    """One side: the median of its rounds. `ratio` is its rate over the first side's."""

    name: str
    count: int
    rounds: list[float]
    seconds: float
    rate: float
    ratio: float


class NotRun(msgspec.Struct, frozen=True):
    """A side without figures, and why."""

    name: str
    reason: str


class Side(msgspec.Struct, frozen=True):
    """A way of doing the job: `run` does it and gives the seconds that count, for `count` things."""

    name: str
    count: int
    run: Callable[[], float]


def compare(rounds: int, *sides: Side) -> list[Result]:
    """Run all sides in turns, so that a machine's moods meet all of them; the first is the baseline.

    Raises:
        SideFailed: one could not be measured.
    """
    results, not_run = attempt(rounds, *sides)
    if not_run:
        raise SideFailed(f"{not_run[0].name}: {not_run[0].reason}")
    return results


def attempt(rounds: int, *sides: Side) -> tuple[list[Result], list[NotRun]]:
    """The same, going on without sides that fail. The baseline is the first one that did not."""
    taken: dict[str, list[float]] = {side.name: [] for side in sides}
    failed: dict[str, NotRun] = {}
    for number in range(1, rounds + 1):
        for side in sides:
            if side.name in failed:
                continue
            tell(f"round {number} of {rounds}: {side.name} … ")
            try:
                taken[side.name].append(side.run())
            except SideFailed as failure:
                failed[side.name] = NotRun(side.name, str(failure))
                tell(f"not run: {failure}\n")
            else:
                tell(f"{taken[side.name][-1]:.2f} s\n")
    measured = tuple(side for side in sides if side.name not in failed)
    return _results(measured, taken), [*failed.values()]


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Seconds since the block began, asked for as a call."""
    began = time.perf_counter()
    yield lambda: time.perf_counter() - began


def tell(text: str) -> None:
    """Say to the person who waits what is going on; figures go to standard output."""
    sys.stderr.write(text)
    sys.stderr.flush()


def _results(sides: tuple[Side, ...], taken: dict[str, list[float]]) -> list[Result]:
    """What the seconds that each side took come to."""
    rates = {side.name: side.count / statistics.median(taken[side.name]) for side in sides}
    return [
        Result(
            name=side.name,
            count=side.count,
            rounds=[round(seconds, 4) for seconds in taken[side.name]],
            seconds=statistics.median(taken[side.name]),
            rate=rates[side.name],
            ratio=rates[side.name] / rates[sides[0].name],
        )
        for side in sides
    ]
