"""One running process of a service, with all its descendants: start it, detect its exit, end it."""

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

HOME_VARIABLE, SERVICE_VARIABLE = "ORDERWORKS_HOME", "ORDERWORKS_PART"

# The kernel counts a process's start in ticks since boot, and the time of boot in whole seconds.
CREATE_TIME_TOLERANCE = 2.0

KILL_TIMEOUT = 5.0
"""Seconds that a killed process may take to exit."""


@dataclass(frozen=True)
class Identity:
    """The pid of a process, and what distinguishes it from a later process with the same pid."""

    pid: int
    create_time: float
    mark: str

    def process(self) -> psutil.Process | None:
        """The process, if it is still the same one and running."""
        try:
            process = psutil.Process(self.pid)
            is_marked = any(self.mark in word for word in process.cmdline())
        except psutil.Error:
            return None
        return process if is_marked and is_same_process(self.pid, self.create_time) else None


def is_same_process(pid: int, create_time: float) -> bool:
    """Return whether the process that was created with this pid at this time is still running."""
    try:
        process = psutil.Process(pid)
        difference = abs(process.create_time() - create_time)
    except psutil.Error:
        return False
    return bool(difference < CREATE_TIME_TOLERANCE) and is_alive(process)


def is_alive(process: psutil.Process) -> bool:
    """Return whether it still runs. A zombie does not: it has exited and was not reaped yet."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class ServiceProcess:
    """One process of a service, leader of a session and process group of its own.

    So a terminal's Ctrl-C reaches the supervisor only, and the descendants that remain after it is
    killed can be ended as a group.
    """

    def __init__(self, service: Service, process: subprocess.Popen[bytes], log: LogFile) -> None:
        self.service = service
        self.log = log
        self._process = process
        self._observed = psutil.Process(process.pid)
        self.identity = Identity(process.pid, self._observed.create_time(), service.command_mark)

    @classmethod
    def start(cls, service: Service, logs: Path) -> Self:
        """Run the service's command; its output goes to its log file.

        Raises:
            OSError: it cannot be run, or its log cannot be written.
        """
        log = LogFile(logs / f"{service.name}.log")
        user = service.user.popen_arguments() if service.user else {}
        with log.open() as output:
            process = subprocess.Popen(  # noqa: S603 - the commands are this project's, without a shell
                service.command,
                cwd=service.folder,
                env=dict(service.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,
                **user,
            )
        return cls(service, process, log)

    @property
    def pid(self) -> int:
        """The leader's process id."""
        return self._process.pid

    def has_exited(self) -> bool:
        """Return whether the leader exited. It is not reaped, so its pid still names its group."""
        return self._process.returncode is not None or not is_alive(self._observed)

    def is_healthy(self) -> bool:
        """Return whether the service works, by its own check."""
        return self.service.is_healthy(self.log.since_start())

    def ask_to_stop(self) -> None:
        """Send the service's stop signal to the leader alone: it ends its descendants in order."""
        with suppress(ProcessLookupError):
            self._process.send_signal(self.service.stop_signal)

    def reap(self) -> int:
        """Kill the rest of the group, reap the leader and return its exit status."""
        if self._process.returncode is None:
            kill_group(self.pid)
            self._process.wait()
        if self.service.owns_folder:
            terminate(
                processes_in(self.service.folder, Path(self.service.command[0]).name),
                signal.SIGKILL,
                KILL_TIMEOUT,
            )
        return self._process.returncode


def kill_group(pid: int) -> None:
    """Kill every process of the group that `pid` leads. The leader must not be reaped yet."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def processes_in(folder: Path, name: str) -> list[psutil.Process]:
    """The processes called `name` that work in `folder`.

    PostgreSQL's processes lead groups of their own. Those that remain after a killed postmaster hold
    its shared memory and prevent a new one from starting.
    """
    return [process for process in psutil.process_iter() if _works_in(process, folder, name)]


def _works_in(process: psutil.Process, folder: Path, name: str) -> bool:
    try:
        return is_alive(process) and (process.name(), process.cwd()) == (name, str(folder))
    except (psutil.Error, OSError):
        return False


def terminate(processes: Sequence[psutil.Process], first: signal.Signals, timeout: float) -> None:
    """Send `first` to all, and kill those that still run after `timeout` seconds."""
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(first)
    for process in wait_for_exit(processes, timeout):
        with suppress(psutil.Error):
            process.kill()
    wait_for_exit(processes, KILL_TIMEOUT)


def wait_for_exit(processes: Sequence[psutil.Process], timeout: float) -> list[psutil.Process]:
    """The processes that still run after at most `timeout` seconds.

    Not `psutil.wait_procs`: in a container whose first process reaps no orphans, a process that
    exited stays a zombie, and that function continues to wait for it.
    """
    deadline = time.monotonic() + timeout
    while (alive := [p for p in processes if is_alive(p)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive


def marked_processes(home: Path) -> list[psutil.Process]:
    """Running processes that a supervisor of this home started, and their descendants."""
    own = os.getpid()
    return [p for p in psutil.process_iter() if p.pid != own and _is_marked(p, home)]


def _is_marked(process: psutil.Process, home: Path) -> bool:
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return False
    return environment.get(HOME_VARIABLE) == str(home) and SERVICE_VARIABLE in environment
