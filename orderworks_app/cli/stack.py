"""`orderworks up` runs all services on this machine; `orderworks env` prints their addresses."""

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from orderworks.core.errors import ConfigurationError

if TYPE_CHECKING:
    from orderworks_app.embedded.stack import PreparedHome
    from orderworks_app.embedded.supervisor import StopRequest
    from orderworks_app.embedded.views import PlainView, TableView


def up() -> None:
    """Run all services on this machine until Ctrl-C: servers, workers, beat, Flower, gateway.

    PostgreSQL and Valkey are real servers from Python packages, on loopback ports, with passwords;
    their data stay in ORDERWORKS_HOME (default .orderworks) for the next time. The gateway is at port
    8000 (GATEWAY_PORT), and Flower at 5555 (FLOWER_PORT); if another process has that port, at a random
    one, which is printed. A server whose address you set (DATABASE_URL, REDIS_URL, CACHE_REDIS_URL) is
    not started: yours is used. The schema is upgraded first. A service that exits is restarted. Ctrl-C
    or SIGTERM stops all services within 30 seconds; no data are lost.
    """
    from orderworks.core.settings import Settings

    run_until_stopped(Settings.load().orderworks_home)


def env() -> None:
    """Print the addresses of the running embedded stack, as `export NAME=value` lines.

    For your shell, psql, apps and scripts: eval "$(orderworks env)". DATABASE_URL is in the form of
    psql and libpq, SQLALCHEMY_URL the same database in that of SQLAlchemy.
    """
    from orderworks.core.database import database_address
    from orderworks.core.settings import Settings
    from orderworks.core.stack_home import HOW_TO_NAME_A_STACK, no_stack_runs
    from orderworks_app.embedded.state import running_environment

    home = Settings.load().orderworks_home
    environment = running_environment(home)
    if environment is None:
        raise ConfigurationError(f"{no_stack_runs(home)}: {HOW_TO_NAME_A_STACK}")
    if url := environment.get("DATABASE_URL"):
        address = database_address(url).render_as_string(hide_password=False)
        environment = {**environment, "SQLALCHEMY_URL": address}
    for name, value in environment.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def run_until_stopped(home: Path, only: Collection[str] | None = None) -> None:
    """Run the stack of `home` until a signal stops it; with `only`, only the services it names."""
    from orderworks.core.settings import Settings
    from orderworks_app.cli.gateway_notice import GatewayNotice
    from orderworks_app.cli.next_steps import NextSteps
    from orderworks_app.embedded.stack import prepared
    from orderworks_app.embedded.supervisor import Supervisor
    from orderworks_app.embedded.views import make_view

    with stop_on_signals() as request, prepared(home, only) as stack, make_view() as screen:
        _print_addresses(screen, stack)
        environment = stack.plan.environment
        settings = Settings.load(**{name.lower(): each for name, each in environment.items()})
        watcher = NextSteps(GatewayNotice(screen, settings), screen, environment, program())
        Supervisor(stack.home, stack.plan.services, environment, watcher, request).run()
        screen.print_line("Stopped. The data are kept.")


def _print_addresses(screen: "TableView | PlainView", stack: "PreparedHome") -> None:
    if stack.orphans:
        screen.print_line(
            f"Ended {len(stack.orphans)} processes of an earlier stack that was killed."
        )
    screen.print_line(f"Data and logs are in {stack.home.folder}.")
    for sentence in stack.plan.moved:
        screen.print_line(sentence)


def program() -> str:
    """The command that starts this program in the user's shell: `orderworks`, or its path."""
    path = sys.argv[0]
    if Path(path).name != "orderworks":
        return "orderworks"
    found = shutil.which("orderworks")
    return "orderworks" if found and os.path.realpath(found) == os.path.realpath(path) else path


def signals_as_interrupt() -> None:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt, so that context managers stop the servers.

    An ignored SIGHUP stays ignored.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)


@contextmanager
def stop_on_signals() -> Iterator["StopRequest"]:
    """Turn SIGINT, SIGTERM and SIGHUP into a request to stop, without interrupting running code.

    An ignored SIGHUP stays ignored: `nohup` ignores it so that the stack runs after a logout.
    """
    from orderworks_app.embedded.supervisor import StopRequest

    request = StopRequest()

    def request_stop(_signal: int, _frame: object) -> None:
        request.requested = True

    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    before = {number: signal.signal(number, request_stop) for number in signals}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
