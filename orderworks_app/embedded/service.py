"""What a stack is made of: one `Part` is a command, how to see that it works, and how to end it."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from orderworks_app.embedded.unix_user import UnixUser


class StartStage(IntEnum):
    """Parts of one stage start side by side, once those of the stage before are ready."""

    SERVERS = 0
    MIGRATIONS = 1
    SERVICES = 2


@dataclass(frozen=True)
class Service:
    """One thing that `up` runs.

    Attributes:
        name: what people, the log file and the state file call it.
        stage: when it starts.
        command: what is run; a restart runs the same again.
        mark: a word that stands in its command line as long as it runs.
        is_healthy: asked, with what the part logged since its start, until it says yes. It never
            blocks for more than about a second, and an exception of it is a bug.
        environment: all of it; nothing else is handed down.
        folder: where it runs.
        keeps_folder: whether only this part's processes ever work in `folder`.
        account: whom it runs as; None is whoever runs the supervisor.
        deadline: seconds until it must be healthy, or for a one-shot: done.
        stop_signal: asks it to end in good order.
        stop_timeout: seconds it has for that before it is killed.
        one_shot: it ends by itself, once, before the next stage starts.
        address: where it listens, for people.
    """

    name: str
    stage: StartStage
    command: tuple[str, ...]
    command_mark: str
    is_healthy: Callable[[str], bool]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    keeps_folder: bool = False
    user: UnixUser | None = None
    deadline: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 8.0
    one_shot: bool = False
    address: str = ""
