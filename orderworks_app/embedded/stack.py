"""The stack as other code uses it: up when a block begins, gone when it ends."""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orderworks.core.errors import ConfigurationError
from orderworks_app.embedded.home import Home, home_lock, make_folder, open_home
from orderworks_app.embedded.orphans import end_orphans
from orderworks_app.embedded.passwords import passwords_of
from orderworks_app.embedded.plan import SERVERS, Plan, make_plan
from orderworks_app.embedded.postgresql import NAME as POSTGRESQL
from orderworks_app.embedded.runner import ServiceRunner
from orderworks_app.embedded.supervisor import StopRequest, Supervisor
from orderworks_app.embedded.unix_user import (
    data_location,
    remove_orphaned_data,
    remove_system_data,
)

__all__ = ["SERVERS", "Stack", "discard", "prepared", "running_stack", "temporary_stack"]


@dataclass(frozen=True)
class Stack:
    """A stack that runs.

    Attributes:
        home: its folder.
        environment: the variables that lead to it: DATABASE_URL, REDIS_URL, CELERY_BROKER_URL,
            CACHE_REDIS_URL, SPOOL_URL, with Flower FLOWER_URL and FLOWER_BASIC_AUTH, with the gateway
            GATEWAY_URL.
        admin_url: PostgreSQL's superuser, who may make databases; None if that server is not ours.
    """

    home: Path
    environment: Mapping[str, str] = field(repr=False)
    admin_url: str | None = field(repr=False)


class NullWatcher:
    """A watcher for stacks in the background: it says nothing."""

    def changed(self, _runner: ServiceRunner, /) -> None:
        """Nobody asks."""

    def tick(self, _runners: Sequence[ServiceRunner], /) -> None:
        """Nobody asks."""


@contextmanager
def running_stack(home: Path, only: Collection[str] | None = None) -> Iterator[Stack]:
    """A stack in the background of this process, up when the block begins, gone when it ends.

    Its data stay in `home` for the next time. `only` names the parts to run, `SERVERS` for
    instance. A thread starts dead parts again.

    Raises:
        OrderworksError: it cannot run; says why in a sentence.
    """
    request = StopRequest()
    with prepared(home, only) as ready:
        plan = ready.plan
        supervisor = Supervisor(ready.home, plan.services, plan.environment, NullWatcher(), request)
        with _in_background(supervisor, request):
            yield Stack(ready.home.folder, plan.environment, plan.admin_url)


@contextmanager
def temporary_stack(only: Collection[str] | None = None) -> Iterator[Stack]:
    """Like `running_stack`, in a new folder that is removed with all data at the end."""
    folder = Path(tempfile.mkdtemp(prefix="orderworks-"))
    home = folder / "home"
    try:
        if os.geteuid() == 0:
            folder.chmod(0o711)  # Ours, and PostgreSQL's account has to pass through.
        make_folder(home, passable=os.geteuid() == 0)
        with running_stack(home, only) as stack:
            yield stack
    finally:
        discard(home)
        shutil.rmtree(folder, ignore_errors=True)


def discard(home: Path) -> None:
    """Remove a home that no stack runs in, with all its data, wherever they lie."""
    opened = open_home(home)
    with home_lock(opened):
        home_id = passwords_of(opened).home_id
        end_orphans(opened, data_location(opened, home_id).folder / POSTGRESQL)
        remove_system_data(home_id)
        shutil.rmtree(opened.folder, ignore_errors=True)


@dataclass(frozen=True)
class PreparedHome:
    """A home that is ours alone, what to run in it, and the pids of leftovers that were ended."""

    home: Home
    plan: Plan
    orphans: list[int]


@contextmanager
def prepared(folder: Path, only: Collection[str] | None = None) -> Iterator[PreparedHome]:
    """A home under lock, cleared of leftovers, with the plan of what to run in it.

    Raises:
        OrderworksError: another stack runs in it, or something that is needed is missing.
    """
    home = open_home(folder)
    with home_lock(home):
        yield _prepare(home, only)


def _prepare(home: Home, only: Collection[str] | None) -> PreparedHome:
    try:
        remove_orphaned_data()
        passwords = passwords_of(home)
        place = data_location(home, passwords.home_id)
        leftovers = end_orphans(home, place.folder / POSTGRESQL)
        return PreparedHome(home, make_plan(home, place, passwords, only), leftovers)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise ConfigurationError(
            f"the stack under {home.folder} cannot be prepared: {error.strerror or error}{where}"
        ) from None


@contextmanager
def _in_background(supervisor: Supervisor, request: StopRequest) -> Iterator[None]:
    """Run the supervisor in a thread while the block lasts, and hand on what it raises."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            supervisor.run()
        except BaseException as error:  # noqa: BLE001 - handed on to the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run, name="orderworks-supervisor")
    thread.start()
    try:
        while thread.is_alive() and not supervisor.is_up:
            time.sleep(0.01)
        if errors:
            raise errors.pop()
        yield
    finally:
        request.asked = True
        thread.join()
    if errors:
        raise errors[0]
