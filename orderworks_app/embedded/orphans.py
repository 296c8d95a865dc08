"""Orderly shutdown of the processes that a killed supervisor left running, before a new one starts."""

import signal
from contextlib import suppress
from pathlib import Path

import psutil

from orderworks_app.embedded import valkey
from orderworks_app.embedded.home import Home
from orderworks_app.embedded.process import (
    KILL_TIMEOUT,
    is_alive,
    kill_group,
    marked_processes,
    processes_in,
    terminate,
    wait_for_exit,
)
from orderworks_app.embedded.state import RecordedProcess, recorded_processes

SERVER_TIMEOUT = 12.0
"""Seconds that a server has for an orderly shutdown before it is killed."""


def end_orphans(home: Home, postgresql_data: Path) -> list[int]:
    """End the remaining processes of an earlier stack of this home; return their pids.

    Call it only under the home's lock. No process is ended by its pid alone: recorded ones are
    identified by start time and command line, others by their environment or the data they work on,
    so that a process whose start was never recorded is found as well.
    """
    ended = _end_recorded(recorded_processes(home))
    ended += _end_marked(home.folder)
    ended += _end_servers(home.folder, postgresql_data)
    home.state_file.unlink(missing_ok=True)
    return ended


def _end_recorded(recorded: list[RecordedProcess]) -> list[int]:
    ended = []
    for stage in sorted({entry.stage for entry in recorded}, reverse=True):
        entries = [entry for entry in recorded if entry.stage == stage]
        ended += _end_stage([(e, p) for e in entries if (p := e.identity.process())])
    return ended


def _end_stage(running: list[tuple[RecordedProcess, psutil.Process]]) -> list[int]:
    for entry, process in running:
        with suppress(psutil.Error):
            process.send_signal(entry.stop_signal)
    timeout = max((entry.stop_timeout for entry, _ in running), default=0.0)
    processes = [process for _, process in running]
    for process in wait_for_exit(processes, timeout):
        # It is still the same process, so the group with its pid is its own.
        kill_group(process.pid)
    wait_for_exit(processes, KILL_TIMEOUT)
    return [process.pid for process in processes]


def _end_marked(home: Path) -> list[int]:
    """End processes with this home in their environment: pool children, and starts not recorded."""
    marked = marked_processes(home)
    terminate(marked, signal.SIGTERM, 2)
    return [process.pid for process in marked]


def _end_servers(home: Path, data: Path) -> list[int]:
    """End servers by the data they work on: two servers would destroy the same data."""
    servers = [process for process in [_postmaster(data)] if process]
    terminate(servers, signal.SIGINT, SERVER_TIMEOUT)
    orphans = processes_in(data, "postgres")
    terminate(orphans, signal.SIGQUIT, 2)
    valkeys = [
        process
        for name in (valkey.VALKEY, valkey.CACHE)
        for process in processes_in(home / name, "valkey-server")
    ]
    terminate(valkeys, signal.SIGTERM, SERVER_TIMEOUT)
    return [process.pid for process in (*servers, *orphans, *valkeys)]


def _postmaster(data: Path) -> psutil.Process | None:
    """The server that `postmaster.pid` names, if it runs on these data."""
    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text("utf-8").split()[0]))
        return process if str(data) in process.cmdline() and is_alive(process) else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
