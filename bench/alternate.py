"""Sides of a comparison, measured in turns."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from orderworks.core.errors import OrderworksError

T = TypeVar("T")


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
    runs = {side.name: side.run for side in sides}
    taken, not_run = take_turns(rounds, runs, lambda seconds: f"{seconds:.2f} s")
    return _results([side for side in sides if side.name in taken], taken), not_run


def take_turns(
    rounds: int, runs: Mapping[str, Callable[[], T]], describe: Callable[[T], str]
) -> tuple[dict[str, list[T]], list[NotRun]]:
    """What each of `runs` gave in each round; and those that failed, which take no further turn."""
    given: dict[str, list[T]] = {name: [] for name in runs}
    failed: dict[str, NotRun] = {}
    for number in range(1, rounds + 1):
        for name in [each for each in runs if each not in failed]:
            print_progress(f"round {number} of {rounds}: {name} … ")
            try:
                given[name].append(runs[name]())
            except SideFailed as failure:
                failed[name] = NotRun(name, str(failure))
            print_progress(
                f"not run: {failed[name].reason}\n"
                if name in failed
                else f"{describe(given[name][-1])}\n"
            )
    return {name: each for name, each in given.items() if name not in failed}, [*failed.values()]


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Seconds since the block started, asked for as a call."""
    started = time.perf_counter()
    yield lambda: time.perf_counter() - started


def print_progress(text: str) -> None:
    """Say to the person who waits what is going on; figures go to standard output."""
    sys.stderr.write(text)
    sys.stderr.flush()


def _results(sides: Sequence[Side], taken: Mapping[str, list[float]]) -> list[Result]:
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
