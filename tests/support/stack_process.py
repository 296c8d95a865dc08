"""A stack in a process of its own, as `orderworks up` runs it, for tests that stop or kill it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from orderworks.core.settings import STATE_FILE, Settings
from orderworks_app.embedded.stack import SERVERS, Stack, discard
from tests.support.processes import ROOT, eventually

# `up` itself runs everything; this is the same code with the parts named.
SOME_PARTS = (
    "import sys; from pathlib import Path;"
    "from orderworks_app.cli.failures import report_failures;"
    "from orderworks_app.cli.stack import run_until_stopped\n"
    "with report_failures(): run_until_stopped(Path(sys.argv[1]), sys.argv[2:])"
)

ANY_PORT = {"GATEWAY_PORT": "0", "FLOWER_PORT": "0"}
"""Variables of a stack that leaves the usual ports of gateway and Flower to others."""


@dataclass
class StackProcess:
    """One `orderworks up`."""

    home: Path
    process: subprocess.Popen[bytes]
    output: Path

    def said(self) -> str:
        """Its output so far."""
        return self.output.read_text(encoding="utf-8")

    def is_up(self, names: Iterable[str]) -> bool:
        """Return true if all these services became ready."""
        return all(f"{name} ready" in self.said() for name in names)

    def wait_until_up(self, names: Iterable[str], seconds: float = 40) -> None:
        """Wait until all these parts were ready once."""
        eventually(lambda: self.is_up(names) or self.process.poll() is not None, seconds)
        assert self.is_up(names), self.said()

    def state(self) -> dict[str, Any]:
        """The state file."""
        state: dict[str, Any] = json.loads((self.home / STATE_FILE).read_text("utf-8"))
        return state

    def pid(self, part: str) -> int:
        """The process of a part; 0 if it has none now."""
        return int(self.state()["parts"].get(part, {"pid": 0})["pid"])

    def environment(self) -> dict[str, str]:
        """The addresses."""
        return dict(self.state()["environment"])

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Send a signal, and give the exit status. It has the 30 s that are promised."""
        self.process.send_signal(how)
        return self.process.wait(timeout=30)


@contextmanager
def up(
    home: Path,
    parts: frozenset[str] | None = SERVERS,
    python: str = sys.executable,
    terminal: int | None = None,
    **options: Any,  # noqa: ANN401 - Popen's own
) -> Iterator[StackProcess]:
    """An `up` of `home`, with all services unless `parts` names some. It is stopped at the end."""
    output = home.with_name(f"{home.name}.out")
    command = [python, "-c", SOME_PARTS, str(home), *sorted(parts or ())]
    if parts is None:
        command = [python, "-m", "orderworks_app", "up"]
    options = {"env": bare_environment(home), "cwd": ROOT, **options}
    with output.open("wb") as file:
        where = file if terminal is None else terminal
        process = subprocess.Popen(command, stdout=where, stderr=file, **options)
    try:
        yield StackProcess(home, process, output)
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            process.kill()


@contextmanager
def new_home() -> Iterator[Path]:
    """A home that PostgreSQL's account can reach, gone at the end. Nothing may run in it then."""
    folder = Path(tempfile.mkdtemp(prefix="orderworks-test-"))
    folder.chmod(0o711)
    home = folder / "home"
    try:
        yield home
        left = processes_of(home)
        assert not left, left
    finally:
        if home.exists() and home.stat().st_uid == os.geteuid():
            discard(home)
        shutil.rmtree(folder, ignore_errors=True)


def bare_environment(home: Path) -> dict[str, str]:
    """This process's environment without any address, so that all servers are embedded ones.

    Gateway and Flower take any free port: many stacks run at the same time on one machine.
    """
    settings = {name.upper() for name in Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name not in settings}
    return {**kept, **ANY_PORT, "ORDERWORKS_HOME": str(home)}


def processes_of(home: Path) -> list[str]:
    """Command lines of the processes that belong to a home: by arguments, folder or environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            places = [command, process.cwd(), process.environ().get("ORDERWORKS_HOME", "")]
            if any(str(home) in place for place in places) and process.pid != os.getpid():
                found.append(f"{process.pid} {process.status()} {command}")
    return found


def server_of(stack: Stack) -> int:
    """PostgreSQL's main process."""
    state = json.loads((stack.home / STATE_FILE).read_text(encoding="utf-8"))
    return int(state["parts"]["postgresql"]["pid"])
