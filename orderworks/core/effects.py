"""Effects: what code without I/O of its own yields, and the two drivers that have it performed.

A flow for both threads and event loops is written once, as a generator. It yields effects, which are
plain data, and is sent the result of each. A driver passes each effect to a function, `perform`, which
knows the clients. One driver is for threads, the other for event loops.
"""

import math
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any, NamedTuple, TypeAlias, TypeVar

Effect = TypeVar("Effect")
T = TypeVar("T")

Steps: TypeAlias = Generator[Effect, Any, T]
"""Yields effects, is sent the result of each, and returns what its caller gets."""

PAUSE_GROWTH = 1.5
"""By how much each pause is longer than the one before."""


class Pause(NamedTuple):
    """Sleep for a number of seconds."""

    seconds: float


def growing_pauses(first: float, longest: float, timeout: float | None = None) -> Iterator[float]:
    """Yield pauses in seconds, growing from `first` to `longest`, until `timeout` seconds are over."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    pause = first
    while (remaining := deadline - time.monotonic()) > 0:
        yield min(pause, remaining)
        pause = min(pause * PAUSE_GROWTH, longest)


def run_sync(steps: Steps[Effect, T], perform: Callable[[Effect], object]) -> T:
    """Run the steps in this thread; return what they return.

    What `perform` raises is raised inside the steps, at the place that yielded the effect. That includes
    an interrupt, so that the steps can release what they hold.
    """
    try:
        effect = next(steps)
        while True:
            try:
                result = perform(effect)
            except BaseException as error:  # noqa: BLE001 - the steps decide, also about an interrupt
                effect = steps.throw(error)
            else:
                effect = steps.send(result)
    except StopIteration as end:
        returned: T = end.value
        return returned
    finally:
        # At once, wherever this was interrupted: the traceback would keep the steps open.
        steps.close()


async def run_async(steps: Steps[Effect, T], perform: Callable[[Effect], Awaitable[object]]) -> T:
    """Run the steps in this task; return what they return. As `run_sync`, also if it is cancelled."""
    try:
        effect = next(steps)
        while True:
            try:
                result = await perform(effect)
            except BaseException as error:  # noqa: BLE001 - as above
                effect = steps.throw(error)
            else:
                effect = steps.send(result)
    except StopIteration as end:
        returned: T = end.value
        return returned
    finally:
        steps.close()
