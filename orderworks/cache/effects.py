"""What a cached read may do, as plain data: ask the server, load, pause. And two ways of doing it.

What a read does is written once, as a generator of these steps without any I/O (`reading.py`); the
functions here carry it out, one for threads and one for an event loop.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import closing
from typing import Any, NamedTuple, TypeAlias, TypeVar

from orderworks.cache.event_loops import PipelinedClient
from orderworks.core.redis import Redis

FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.05
"""Seconds between two looks at what another reader computes: the first pause, and what they grow to."""

T = TypeVar("T")


class Ask(NamedTuple):
    """Send the server one command. The answer comes back, or its error is raised at this place."""

    command: tuple[Any, ...]


class Pause(NamedTuple):
    """Wait so many seconds. The answer is whether that was possible.

    Plain code in a thread whose event loop runs must not: it would stop the tasks that it waits for.
    """

    seconds: float


class Load(NamedTuple):
    """Call the decorated function. What it returns comes back, or what it raises is raised here."""


Step: TypeAlias = Ask | Pause | Load

Steps: TypeAlias = Generator[Step, Any, T]
"""Returns what the caller gets."""


def pauses() -> Iterator[float]:
    """Growing pauses, in seconds, without end."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 1.5, LONGEST_PAUSE)


def run_sync(steps: Steps[T], client: Redis, load: Callable[[], object]) -> T:
    """Do the steps in this thread; what they return."""
    # Closed at once, wherever this is interrupted: the traceback would keep the steps alive.
    with closing(steps):
        return _drive(steps, client, load)


def _drive(steps: Steps[T], client: Redis, load: Callable[[], object]) -> T:
    answer, error = None, None
    while True:
        try:
            step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as end:
            returned: T = end.value
            return returned
        answer, error = None, None
        try:
            answer = _perform(step, client, load)
        except BaseException as raised:  # noqa: BLE001 - the steps decide, also if a person interrupts
            error = raised


def _perform(step: Step, client: Redis, load: Callable[[], object]) -> object:
    if isinstance(step, Ask):
        answer: object = client.execute_command(*step.command)  # type: ignore[no-untyped-call]
        return answer
    if isinstance(step, Load):
        return load()
    return _try_sleep(step.seconds)


def _try_sleep(seconds: float) -> bool:
    """Whether the thread could sleep."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        time.sleep(seconds)
        return True
    return False


async def run_async(
    steps: Steps[T], client: PipelinedClient, load: Callable[[], Awaitable[object]]
) -> T:
    """Do the steps in this task; what they return."""
    with closing(steps):
        return await _drive_async(steps, client, load)


async def _drive_async(
    steps: Steps[T], client: PipelinedClient, load: Callable[[], Awaitable[object]]
) -> T:
    answer, error = None, None
    while True:
        try:
            step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as end:
            returned: T = end.value
            return returned
        answer, error = None, None
        try:
            answer = await _perform_async(step, client, load)
        except BaseException as raised:  # noqa: BLE001 - likewise, also if the task is cancelled
            error = raised


async def _perform_async(
    step: Step, client: PipelinedClient, load: Callable[[], Awaitable[object]]
) -> object:
    if isinstance(step, Ask):
        return await client.execute_command(*step.command)
    if isinstance(step, Load):
        return await load()
    await asyncio.sleep(step.seconds)
    return True
