"""Real `celery` processes, as users start them, and the verbs that tests put them through."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

ROOT = Path(__file__).parents[2]

T = TypeVar("T")

SHOWN = 6000
"""Characters of a log's end that a failing test shows."""


def eventually(
    condition: Callable[[], T], within: float, else_say: str = "", every: float = 0.02
) -> T:
    """Wait until the condition holds, and return what it returned; fail if it takes too many seconds."""
    result = poll(condition, within, every)
    assert result, f"not within {within} s: {else_say}"
    return result


def poll(condition: Callable[[], T], within: float, every: float = 0.02) -> T:
    """Wait until the condition holds, but not longer; return what it returned last."""
    deadline = time.monotonic() + within
    while not (result := condition()) and time.monotonic() < deadline:
        time.sleep(every)
    return result


def dawdle(longest: float) -> None:
    """Take a random time, as any step does on a busy machine, so that others get between two steps."""
    time.sleep(random.random() * longest)


BEAT_OFTEN = {"SWEEP_INTERVAL": "1", "REPORT_INTERVAL": "1"}
"""Variables with which beat sends its tasks every second."""

BEAT_NEVER = {"SWEEP_INTERVAL": "86400", "REPORT_INTERVAL": "86400"}
"""Variables with which beat sends nothing: what happens, happens because of a notification."""


@dataclass
class CeleryProcess:
    """One `celery` process with all that it forks."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its main process."""
        return self.process.pid

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text("utf-8", "replace")

    def has_ended(self) -> bool:
        """Return true if the main process ended."""
        return self.process.poll() is not None

    def stop(self, within: float) -> int:
        """Ask it to end, as `docker stop` does, and give its exit status."""
        self.process.terminate()
        return self.process.wait(timeout=within)

    def kill_all(self) -> None:
        """Kill main process and children at once, as a power cut does."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(timeout=10)


def pool_children(worker: CeleryProcess) -> list[int]:
    """The processes of a worker that run tasks."""
    return [each.pid for each in psutil.Process(worker.pid).children(recursive=True)]


def kill(pid: int) -> None:
    """Kill a process as the kernel does when memory is short."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def ports_of(pid: int) -> set[int]:
    """The local ports of a process's connections."""
    return {each.laddr.port for each in psutil.Process(pid).net_connections("tcp")}


def has_loaded(pid: int, library: str) -> bool:
    """Return true if a process has mapped a shared library with this word in its path."""
    return any(library in each.path for each in psutil.Process(pid).memory_maps())


@contextmanager
def default_hangup() -> Iterator[None]:
    """Make SIGHUP end processes that are started in the block, also if the tests run under `nohup`.

    Children inherit an ignored signal, while a handled one gets its default action when they start.
    """
    before = signal.signal(signal.SIGHUP, lambda _signal, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process by SIGSTOP until the end of the block, then continue it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def running_worker(folder: Path, *options: str) -> Iterator[CeleryProcess]:
    """`celery -A worker worker …`, ready for messages when the block begins."""
    with running(folder, "worker", "--loglevel=INFO", *options) as service:
        yield ready(service, " ready.")


@contextmanager
def running_beat(folder: Path) -> Iterator[CeleryProcess]:
    """`celery -A worker beat`."""
    with running(folder, "beat", "--loglevel=INFO") as service:
        yield ready(service, "beat: Starting")


@contextmanager
def worker_and_beat(folder: Path, *options: str) -> Iterator[CeleryProcess]:
    """Both, started side by side; the worker."""
    with ExitStack() as stack:
        beat = stack.enter_context(running(folder, "beat", "--loglevel=INFO"))
        yield stack.enter_context(running_worker(folder, *options))
        assert not beat.has_ended(), "beat exited early"


@contextmanager
def running(folder: Path, command: str, *options: str) -> Iterator[CeleryProcess]:
    """`celery -A worker <command> …` in an empty folder, gone with its children at the end.

    Addresses and settings are those of this process's environment.
    """
    folder.mkdir(exist_ok=True)
    number = len(list(folder.parent.glob(f"{folder.name}.*.log")))
    log = folder.with_name(f"{folder.name}.{number}.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "worker", command, *options],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "REMAP_SIGTERM": "SIGQUIT"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    service = CeleryProcess(process, log)
    try:
        yield service
    finally:
        service.kill_all()
        print(f"--- {command}\n{service.said()[-SHOWN:]}")  # noqa: T201 - pytest shows it on failure


def ready(service: CeleryProcess, word: str) -> CeleryProcess:
    """The service, once it logged the word."""
    eventually(
        lambda: word in service.said() or service.has_ended(), 30, "the service is not ready"
    )
    assert not service.has_ended(), service.said()[-SHOWN:]
    return service


def crash(*_: object) -> None:
    """Raise `KeyboardInterrupt`, in place of a function: like a killed process, nothing handles it."""
    raise KeyboardInterrupt
