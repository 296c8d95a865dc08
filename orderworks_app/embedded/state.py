"""The state file: addresses for other commands, processes for the next supervisor."""

import json
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from orderworks.core.settings import STATE_FILE
from orderworks_app.embedded.home import Home, write_private
from orderworks_app.embedded.process import Identity, is_same_process
from orderworks_app.embedded.service import Service


@dataclass(frozen=True)
class RecordedProcess:
    """A process from the state file, and how to end it."""

    identity: Identity
    stage: int
    stop_signal: signal.Signals
    stop_timeout: float

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        """The process that an entry of the state file describes."""
        identity = Identity(int(entry["pid"]), float(entry["create_time"]), str(entry["mark"]))
        return cls(
            identity,
            int(entry["stage"]),
            signal.Signals(entry["stop_signal"]),
            float(entry["stop_timeout"]),
        )


def write_state(
    home: Home, environment: Mapping[str, str], running: Iterable[tuple[Service, Identity]]
) -> None:
    """Replace the state file atomically: a reader sees the old one or the new one, never a part."""
    supervisor = {"pid": os.getpid(), "create_time": psutil.Process().create_time()}
    services = {service.name: _entry(service, identity) for service, identity in running}
    state = {"environment": dict(environment), "supervisor": supervisor, "parts": services}
    write_private(home.state_file, json.dumps(state, indent=1) + "\n")


def _entry(service: Service, identity: Identity) -> dict[str, Any]:
    return {
        "pid": identity.pid,
        "create_time": identity.create_time,
        "mark": identity.mark,
        "address": service.address,
        "stage": int(service.stage),
        "stop_signal": int(service.stop_signal),
        "stop_timeout": service.stop_timeout,
    }


def running_environment(home: Path) -> dict[str, str] | None:
    """The addresses of the stack that runs in this folder; None without one.

    Processes that a killed supervisor left running do not count: nothing supervises them.
    """
    try:
        state = json.loads((home / STATE_FILE).read_text(encoding="utf-8"))
        supervisor = state["supervisor"]
        if not is_same_process(int(supervisor["pid"]), float(supervisor["create_time"])):
            return None
        return {str(name): str(value) for name, value in state["environment"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def recorded_processes(home: Home) -> list[RecordedProcess]:
    """The processes of the state file; none if it is missing or damaged."""
    try:
        state = json.loads(home.state_file.read_text(encoding="utf-8"))
        return [RecordedProcess.read(entry) for entry in state["parts"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
