"""What has to end at once when the server is asked to stop.

uvicorn lets requests under way end by themselves, and streams of events never do: without this each stop
would take as long as it grants to requests.
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
    """Within the block, call it in the event loop as soon as a signal asks the process to stop.

    What was to be done on the signal is done as well. Only the main thread can listen to signals; in
    another one nothing is called.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}

    def asked(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(call)
        known = before[signal.Signals(number)]
        if callable(known):
            known(number, frame)

    for each in STOP_SIGNALS:
        signal.signal(each, asked)
    try:
        yield
    finally:
        for each, known in before.items():
            signal.signal(each, known)
