"""Steps without I/O: what drivers send them, raise in them, and close."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice

import pytest

from orderworks.core.effects import Pause, Steps, growing_pauses, run_async, run_sync

Run = Callable[[Steps[Pause, str], Callable[[Pause], object]], str]


def run_on_loop(steps: Steps[Pause, str], perform: Callable[[Pause], object]) -> str:
    async def perform_async(effect: Pause) -> object:
        return perform(effect)

    awaitable: Awaitable[str] = run_async(steps, perform_async)
    return asyncio.run(_awaited(awaitable))


async def _awaited(awaitable: Awaitable[str]) -> str:
    return await awaitable


@pytest.fixture(params=[run_sync, run_on_loop])
def run(request: pytest.FixtureRequest) -> Run:
    driver: Run = request.param
    return driver


def test_driver_sends_each_result_and_returns_what_steps_return(run: Run) -> None:
    def steps() -> Steps[Pause, str]:
        first = yield Pause(1)
        second = yield Pause(2)
        return f"{first}, {second}"

    assert run(steps(), lambda effect: effect.seconds * 10) == "10, 20"
    assert run(steps_without_effects(), lambda effect: pytest.fail(str(effect))) == "done"


def steps_without_effects() -> Steps[Pause, str]:
    yield from ()
    return "done"


def test_error_of_an_effect_is_raised_in_the_steps(run: Run) -> None:
    def steps() -> Steps[Pause, str]:
        try:
            yield Pause(1)
        except ValueError as error:
            assert (yield Pause(2)) == "released"
            return f"after {error}"
        return "no error"

    def perform(effect: Pause) -> str:
        if effect.seconds == 1:
            raise ValueError("effect failed")
        return "released"

    assert run(steps(), perform) == "after effect failed"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, StopIteration, ValueError])
def test_interrupted_steps_are_closed_while_the_error_is_still_held(
    interrupt: type[BaseException],
) -> None:
    closed = []

    def steps() -> Steps[Pause, str]:
        try:
            yield Pause(1)
        finally:
            closed.append(interrupt)
        return "not reached"

    def perform(_effect: Pause) -> object:
        raise interrupt

    expected = RuntimeError if interrupt is StopIteration else interrupt
    with pytest.raises(expected) as raised:
        run_sync(steps(), perform)
    assert closed == [interrupt]
    del raised


def test_cancelled_steps_may_still_release_what_they_hold() -> None:
    performed = []

    def steps() -> Steps[Pause, str]:
        try:
            yield Pause(1)
        except asyncio.CancelledError:
            yield Pause(2)
            raise
        return "not reached"

    started = asyncio.Event()

    async def perform(effect: Pause) -> None:
        performed.append(effect.seconds)
        if effect.seconds == 1:
            started.set()
            await asyncio.Event().wait()

    async def cancel() -> None:
        task = asyncio.ensure_future(run_async(steps(), perform))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert performed == [1, 2]


def test_pauses_grow_to_the_longest_and_end_with_the_timeout() -> None:
    endless: Iterator[float] = growing_pauses(0.1, 0.2)
    assert [round(pause, 3) for pause in islice(endless, 4)] == [0.1, 0.15, 0.2, 0.2]
    assert list(growing_pauses(0.1, 0.2, 0)) == []
    assert next(growing_pauses(0.1, 0.2, 0.01)) <= 0.01
