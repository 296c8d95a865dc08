"""A callback for the signal that stops the process, so that event streams end at once.

uvicorn waits for running requests, and streams of events do not end: without this, each stop would take
the whole of the time that requests are granted.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def call_on_shutdown(call: Callable[[], None]) -> Iterator[None]:
    """Within the block, call the function in the event loop when a signal stops the process.

    The previous handler of the signal runs as well. Only the main thread can handle signals; in another
    thread the function is never called.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(call)
        previous = before[signal.Signals(number)]
        if callable(previous):
            previous(number, frame)

    for each in STOP_SIGNALS:
        signal.signal(each, handle)
    try:
        yield
    finally:
        for each, previous in before.items():
            signal.signal(each, previous)
