"""Supervised services: the command of each, its health check, and how it is stopped."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from orderworks_app.embedded.unix_user import UnixUser


class StartStage(IntEnum):
    """Services of one stage start together, once those of the stage before are ready."""

    SERVERS = 0
    MIGRATIONS = 1
    SERVICES = 2


@dataclass(frozen=True)
class Service:
    """A command that `up` runs and supervises.

    Attributes:
        name: its name in output, log files and the state file.
        stage: when it starts.
        command: its command line; a restart runs the same again.
        command_mark: a word that is in its command line as long as it runs.
        is_healthy: called with the service's log since its start, until it returns true. It never
            blocks for more than about a second, and an exception of it is a bug.
        environment: all of it; no other variable is inherited.
        folder: its working directory.
        owns_folder: whether only this service's processes ever work in `folder`.
        user: the account that it runs as; None is that of the supervisor.
        deadline: seconds until it must be healthy, or for a one-shot: done.
        stop_signal: requests an orderly shutdown.
        stop_timeout: seconds it has for that before it is killed.
        one_shot: it exits after its work, before the next stage starts.
        address: where it listens, as shown to users.
    """

    name: str
    stage: StartStage
    command: tuple[str, ...]
    command_mark: str
    is_healthy: Callable[[str], bool]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    owns_folder: bool = False
    user: UnixUser | None = None
    deadline: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 8.0
    one_shot: bool = False
    address: str = ""
