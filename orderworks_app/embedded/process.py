"""One running process of a part, with everything it spawned: start, see it die, end, sweep up."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from orderworks_app.embedded.logs import LogFile
from orderworks_app.embedded.service import Service

HOME_VARIABLE, PART_VARIABLE = "ORDERWORKS_HOME", "ORDERWORKS_PART"

# The kernel counts a process's start in ticks since boot, and the time of boot in whole seconds.
CREATE_TIME_TOLERANCE = 2.0

KILL_TIMEOUT = 5.0
"""Seconds that a killed process may take to be gone."""


@dataclass(frozen=True)
class Identity:
    """Tells a process from a later one with the same pid."""

    pid: int
    create_time: float
    mark: str

    def process(self) -> psutil.Process | None:
        """The process, if it is still the same one and alive."""
        try:
            process = psutil.Process(self.pid)
            ours = any(self.mark in word for word in process.cmdline())
        except psutil.Error:
            return None
        return process if ours and is_same_process(self.pid, self.create_time) else None


def is_same_process(pid: int, create_time: float) -> bool:
    """Whether the process that had this pid at this time is still alive."""
    try:
        process = psutil.Process(pid)
        difference = abs(process.create_time() - create_time)
    except psutil.Error:
        return False
    return bool(difference < CREATE_TIME_TOLERANCE) and is_alive(process)


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs. A zombie does not: it only waits to be noticed."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class ServiceProcess:
    """One process of a part, leader of a session and process group of its own.

    So a terminal's Ctrl-C reaches the supervisor only, and what the process leaves behind when it
    is killed can be ended as a group.
    """

    def __init__(self, service: Service, process: subprocess.Popen[bytes], log: LogFile) -> None:
        self.service = service
        self.log = log
        self._process = process
        self._seen = psutil.Process(process.pid)
        self.identity = Identity(process.pid, self._seen.create_time(), service.command_mark)

    @classmethod
    def start(cls, service: Service, logs: Path) -> Self:
        """Run the part's command; its output goes to its log file.

        Raises:
            OSError: it cannot be run, or its log cannot be written.
        """
        log = LogFile(logs / f"{service.name}.log")
        account = service.user.popen_arguments() if service.user else {}
        with log.open() as output:
            process = subprocess.Popen(  # noqa: S603 - parts are ours, and no shell is between
                service.command,
                cwd=service.folder,
                env=dict(service.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,
                **account,
            )
        return cls(service, process, log)

    @property
    def pid(self) -> int:
        """The leader's process id."""
        return self._process.pid

    def has_exited(self) -> bool:
        """Whether the leader is dead. It stays unreaped, so that its pid still names its group."""
        return self._process.returncode is not None or not is_alive(self._seen)

    def is_healthy(self) -> bool:
        """Whether the part works, by its own check."""
        return self.service.is_healthy(self.log.since_start())

    def ask_to_stop(self) -> None:
        """Send the part's stop signal to the leader alone: it knows best how to end the others."""
        with suppress(ProcessLookupError):
            self._process.send_signal(self.service.stop_signal)

    def reap(self) -> int:
        """Kill whatever is left of the group, then collect the leader. Gives its exit status."""
        if self._process.returncode is None:
            kill_group(self.pid)
            self._process.wait()
        if self.service.keeps_folder:
            terminate(
                processes_in(self.service.folder, Path(self.service.command[0]).name),
                signal.SIGKILL,
                KILL_TIMEOUT,
            )
        return self._process.returncode


def kill_group(pid: int) -> None:
    """Kill every process of the group that `pid` leads. A dead leader must not be reaped yet."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def processes_in(folder: Path, name: str) -> list[psutil.Process]:
    """The processes called `name` that work in `folder`.

    PostgreSQL's processes lead groups of their own. Those that outlive a killed postmaster hold its
    shared memory, and keep a new one from starting.
    """
    return [process for process in psutil.process_iter() if _works_in(process, folder, name)]


def _works_in(process: psutil.Process, folder: Path, name: str) -> bool:
    try:
        return is_alive(process) and (process.name(), process.cwd()) == (name, str(folder))
    except (psutil.Error, OSError):
        return False


def terminate(processes: Sequence[psutil.Process], first: signal.Signals, timeout: float) -> None:
    """Send `first` to all, and kill those that still run after `patience` seconds."""
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(first)
    for process in wait_for_exit(processes, timeout):
        with suppress(psutil.Error):
            process.kill()
    wait_for_exit(processes, KILL_TIMEOUT)


def wait_for_exit(processes: Sequence[psutil.Process], timeout: float) -> list[psutil.Process]:
    """Those that still run after at most `patience` seconds.

    Not `psutil.wait_procs`: in a container whose first process collects no orphans, a dead process
    stays a zombie, and that function goes on waiting for it.
    """
    deadline = time.monotonic() + timeout
    while (alive := [p for p in processes if is_alive(p)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive


def marked_processes(home: Path) -> list[psutil.Process]:
    """Live processes that a supervisor of this home started, or that descend from those."""
    own = os.getpid()
    return [p for p in psutil.process_iter() if p.pid != own and _is_marked(p, home)]


def _is_marked(process: psutil.Process, home: Path) -> bool:
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return False
    return environment.get(HOME_VARIABLE) == str(home) and PART_VARIABLE in environment
