"""The states of one supervised service: started, ready, exited, restarted, stopped."""

import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from orderworks.core.errors import OrderworksError
from orderworks_app.embedded.process import Identity, ServiceProcess
from orderworks_app.embedded.service import Service

FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0
"""Seconds before a service that exited is restarted; each further exit doubles them."""

FIRST_STARTS = 3
"""Starts of a service that a signal killed before it was ready: from the kernel, which needed memory, or
from an operator. Another failure has a cause to be fixed, so that no restart would help."""

STABLE_AFTER = 30.0
"""Seconds that a service must be ready before its next restart is delayed by the least again."""


class StartFailed(OrderworksError):
    """A service did not start, so the stack did not."""


class ServiceState(StrEnum):
    """States of a service, in the words that users see."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DONE = "done"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


class ServiceRunner:
    """Keeps one service running. Its state changes only in its methods: call `poll` regularly.

    Attributes:
        reason: why it is not ready, for users.
        restarts: how often it was restarted.
        since: the monotonic time of its last change to ready.
    """

    def __init__(
        self, service: Service, logs: Path, changed: Callable[["ServiceRunner"], None]
    ) -> None:
        self.service = service
        self.state = ServiceState.WAITING
        self.reason = ""
        self.restarts = 0
        self.since: float | None = None
        self._logs = logs
        self._changed = changed
        self._child: ServiceProcess | None = None
        self._was_ready = False
        self._starts_left = FIRST_STARTS
        self._delay = FIRST_DELAY
        self._due = 0.0

    @property
    def identity(self) -> Identity | None:
        """The process that runs now."""
        return self._child.identity if self._child else None

    @property
    def settled(self) -> bool:
        """True when the next stage may start: it is done, or was ready once."""
        return self.state is ServiceState.DONE or self._was_ready

    def start(self) -> None:
        """Start the process.

        Raises:
            StartFailed: its command cannot be run, and it is its first start.
        """
        self._due = time.monotonic() + self.service.deadline
        try:
            self._child = ServiceProcess.start(self.service, self._logs)
        except OSError as error:
            self._failed(f"its command cannot be run: {error.strerror or error}")
            return
        self._change(ServiceState.STARTING)

    def poll(self) -> None:
        """Check the process, and restart it if it exited.

        Raises:
            StartFailed: it did not become ready at its first start.
        """
        if self.state is ServiceState.STARTING:
            self._poll_starting()
        elif self.state is ServiceState.READY:
            self._poll_ready()
        elif self.state is ServiceState.RESTARTING and time.monotonic() >= self._due:
            self.restarts += 1
            self.start()

    def ask_to_stop(self) -> None:
        """Send the stop signal. It has `stop_timeout` seconds from now on."""
        if self._child:
            self._due = time.monotonic() + self.service.stop_timeout
            self._change(ServiceState.STOPPING)
            self._child.ask_to_stop()

    def has_stopped(self) -> bool:
        """Return whether it stopped. It is killed, with its descendants, once its time is over."""
        if self._child and not self._child.has_exited() and time.monotonic() < self._due:
            return False
        self.kill()
        return True

    def kill(self) -> None:
        """Kill the process and its descendants at once."""
        child, self._child = self._child, None
        if child:
            child.reap()
            self._change(ServiceState.STOPPED)

    def _poll_starting(self) -> None:
        child = self._running()
        if child.has_exited():
            self._exited(child)
        elif child.is_healthy():
            self._was_ready = True
            self.since = time.monotonic()
            self._change(ServiceState.READY)
        elif time.monotonic() >= self._due:
            child.reap()
            self._failed(f"it was not ready within {self.service.deadline:g} s")

    def _poll_ready(self) -> None:
        child = self._running()
        if child.has_exited():
            self._exited(child)
        elif self.since is not None and time.monotonic() - self.since > STABLE_AFTER:
            self._delay = FIRST_DELAY

    def _running(self) -> ServiceProcess:
        if self._child is None:  # After a failed start there is no process, but the state differs.
            raise AssertionError(self.service.name)
        return self._child

    def _exited(self, child: ServiceProcess) -> None:
        status = child.reap()
        if self.service.one_shot and status == 0:
            self._child = None
            self._change(ServiceState.DONE)
        else:
            killed, exited = f"was killed by signal {-status}", f"exited with status {status}"
            self._failed(f"it {killed if status < 0 else exited}", was_killed=status < 0)

    def _failed(self, reason: str, *, was_killed: bool = False) -> None:
        """Restart it later, if it was ready once, or was killed in one of its first starts."""
        child, self._child, self.since = self._child, None, None
        self.reason = reason
        self._starts_left -= 1
        if not self._was_ready and not (was_killed and self._starts_left):
            lines = child.log.last_lines() if child else ""
            output = f"; last lines of {child.log.path}:\n{lines}" if child and lines else ""
            raise StartFailed(f"{self.service.name} did not start: {reason}{output}")
        self._due = time.monotonic() + self._delay
        self._delay = min(self._delay * 2, LONGEST_DELAY)
        self._change(ServiceState.RESTARTING)

    def _change(self, state: ServiceState) -> None:
        self.state = state
        self._changed(self)
