"""`orderworks up` runs everything on this machine; `orderworks env` tells where it is."""

import shlex
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from orderworks.core.errors import ConfigurationError
from orderworks.core.settings import Settings
from orderworks_app.embedded.stack import PreparedHome, prepared
from orderworks_app.embedded.state import running_environment
from orderworks_app.embedded.supervisor import StopRequest, Supervisor
from orderworks_app.embedded.views import PlainView, TableView, make_view


def up() -> None:
    """Run everything here until Ctrl-C: servers, migrations, workers, beat, Flower, gateway.

    PostgreSQL and Valkey are real servers from Python packages, on loopback ports, with passwords;
    their data stay in ORDERWORKS_HOME (default .orderworks) for the next time. A part whose address
    you give (DATABASE_URL, REDIS_URL, CACHE_REDIS_URL) is not started: yours is used. A part that
    dies is started again. Ctrl-C or SIGTERM stops all of it, within 30 seconds and without a loss.
    """
    run_until_stopped(Settings.load().orderworks_home)


def env() -> None:
    """Print the addresses of the running embedded stack, as `export NAME='value'` lines.

    For your shell, psql, apps and scripts: eval "$(orderworks env)".
    """
    home = Settings.load().orderworks_home.absolute()
    environment = running_environment(home)
    if environment is None:
        raise ConfigurationError(
            f"no embedded stack runs under {home}: start it with `orderworks up`"
        )
    for name, value in environment.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def run_until_stopped(home: Path, only: Collection[str] | None = None) -> None:
    """Run the stack of `home` until a signal ends it, or only the parts that `only` names."""
    with stop_on_signals() as request, prepared(home, only) as stack, make_view() as screen:
        _print_addresses(screen, stack)
        environment = stack.plan.environment
        Supervisor(stack.home, stack.plan.services, environment, screen, request).run()
        screen.print_line("Stopped. The data are kept.")


def _print_addresses(screen: TableView | PlainView, stack: PreparedHome) -> None:
    if stack.orphans:
        screen.print_line(f"Ended {len(stack.orphans)} processes that a killed stack had left.")
    screen.print_line(
        f"Data and logs are in {stack.home.folder}. `orderworks env` prints the addresses."
    )


def signals_as_interrupt() -> None:
    """Let a termination and a hangup interrupt what runs, so that it takes its servers along.

    A hangup that is ignored stays so.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the signals that mean "end" into a request to stop, which no code is interrupted by.

    A hangup that is ignored stays so: that is how `nohup` says that the stack is to go on.
    """
    request = StopRequest()

    def ask(_signal: int, _frame: object) -> None:
        request.requested = True

    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in signals}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
