"""Context managers for a stack: it runs when the block begins and is stopped when it ends."""

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
from orderworks_app.embedded.service_runner import ServiceRunner
from orderworks_app.embedded.supervisor import StopRequest, Supervisor
from orderworks_app.embedded.unix_user import (
    data_location,
    remove_orphaned_data,
    remove_system_data,
)

__all__ = ["SERVERS", "Stack", "discard", "prepared", "running_stack", "temporary_stack"]


@dataclass(frozen=True)
class Stack:
    """A running stack.

    Attributes:
        home: its folder.
        environment: the variables with its addresses: DATABASE_URL, REDIS_URL, CELERY_BROKER_URL,
            CACHE_REDIS_URL, SPOOL_URL, with Flower FLOWER_URL and FLOWER_BASIC_AUTH, with the gateway
            GATEWAY_URL.
        admin_url: address of PostgreSQL's superuser, which can create databases; None if PostgreSQL is
            not one of the stack's services.
    """

    home: Path
    environment: Mapping[str, str] = field(repr=False)
    admin_url: str | None = field(repr=False)


class NullWatcher:
    """A watcher that prints nothing, for stacks in the background."""

    def changed(self, _runner: ServiceRunner, /) -> None:
        """Do nothing."""

    def tick(self, _runners: Sequence[ServiceRunner], /) -> None:
        """Do nothing."""


@contextmanager
def running_stack(home: Path, only: Collection[str] | None = None) -> Iterator[Stack]:
    """A stack in the background of this process, from the beginning of the block to its end.

    Its data stay in `home` for the next time. `only` names the services to run, `SERVERS` for
    instance. A thread restarts services that exit.

    Raises:
        OrderworksError: it cannot run; the message states the reason in one sentence.
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
            folder.chmod(0o711)  # PostgreSQL's account has to traverse it.
        make_folder(home, passable=os.geteuid() == 0)
        with running_stack(home, only) as stack:
            yield stack
    finally:
        discard(home)
        shutil.rmtree(folder, ignore_errors=True)


def discard(home: Path) -> None:
    """Remove a home in which no stack runs, with all its data, also those outside of it."""
    opened = open_home(home)
    with home_lock(opened):
        home_id = passwords_of(opened).home_id
        end_orphans(opened, data_location(opened, home_id).folder / POSTGRESQL)
        remove_system_data(home_id)
        shutil.rmtree(opened.folder, ignore_errors=True)


@dataclass(frozen=True)
class PreparedHome:
    """A locked home, the plan of its services, and the pids of orphans that were ended."""

    home: Home
    plan: Plan
    orphans: list[int]


@contextmanager
def prepared(folder: Path, only: Collection[str] | None = None) -> Iterator[PreparedHome]:
    """A locked home whose orphans were ended, with the plan of its services.

    Raises:
        OrderworksError: another stack runs in it, or a requirement is missing.
    """
    home = open_home(folder)
    with home_lock(home):
        yield _prepare(home, only)


def _prepare(home: Home, only: Collection[str] | None) -> PreparedHome:
    try:
        remove_orphaned_data()
        passwords = passwords_of(home)
        location = data_location(home, passwords.home_id)
        orphans = end_orphans(home, location.folder / POSTGRESQL)
        return PreparedHome(home, make_plan(home, location, passwords, only), orphans)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise ConfigurationError(
            f"the stack in {home.folder} cannot be prepared: {error.strerror or error}{where}"
        ) from None


@contextmanager
def _in_background(supervisor: Supervisor, request: StopRequest) -> Iterator[None]:
    """Run the supervisor in a thread while the block lasts, and re-raise its exception."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            supervisor.run()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
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
        request.requested = True
        thread.join()
    if errors:
        raise errors[0]
