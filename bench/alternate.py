"""Comparison of several sides, measured alternately."""

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
    """A side that is not Orderworks could not be measured, or had a wrong result."""


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
    """One way of doing the job: `run` does it for `count` items and returns the measured seconds."""

    name: str
    count: int
    run: Callable[[], float]


def compare(rounds: int, *sides: Side) -> list[Result]:
    """Run all sides alternately; the first one is the baseline.

    Alternately, so that changes in a machine's speed affect all sides.

    Raises:
        SideFailed: a side could not be measured.
    """
    results, not_run = attempt(rounds, *sides)
    if not_run:
        raise SideFailed(f"{not_run[0].name}: {not_run[0].reason}")
    return results


def attempt(rounds: int, *sides: Side) -> tuple[list[Result], list[NotRun]]:
    """Do the same without the sides that fail. The first one that does not fail is the baseline."""
    runs = {side.name: side.run for side in sides}
    seconds, not_run = take_turns(rounds, runs, lambda seconds: f"{seconds:.2f} s")
    return _results([side for side in sides if side.name in seconds], seconds), not_run


def take_turns(
    rounds: int, runs: Mapping[str, Callable[[], T]], describe: Callable[[T], str]
) -> tuple[dict[str, list[T]], list[NotRun]]:
    """Return the values of each run by round, and the runs that failed, which are not repeated."""
    values: dict[str, list[T]] = {name: [] for name in runs}
    failed: dict[str, NotRun] = {}
    for number in range(1, rounds + 1):
        for name in [each for each in runs if each not in failed]:
            print_progress(f"round {number} of {rounds}: {name} … ")
            try:
                values[name].append(runs[name]())
            except SideFailed as failure:
                failed[name] = NotRun(name, str(failure))
            print_progress(
                f"not run: {failed[name].reason}\n"
                if name in failed
                else f"{describe(values[name][-1])}\n"
            )
    return {name: each for name, each in values.items() if name not in failed}, [*failed.values()]


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Yield a function that returns the seconds since the block started."""
    started = time.perf_counter()
    yield lambda: time.perf_counter() - started


def print_progress(text: str) -> None:
    """Write progress to standard error; figures go to standard output."""
    sys.stderr.write(text)
    sys.stderr.flush()


def _results(sides: Sequence[Side], by_round: Mapping[str, list[float]]) -> list[Result]:
    """Return the results of sides from their seconds by round."""
    rates = {side.name: side.count / statistics.median(by_round[side.name]) for side in sides}
    return [
        Result(
            name=side.name,
            count=side.count,
            rounds=[round(seconds, 4) for seconds in by_round[side.name]],
            seconds=statistics.median(by_round[side.name]),
            rate=rates[side.name],
            ratio=rates[side.name] / rates[sides[0].name],
        )
        for side in sides
    ]
