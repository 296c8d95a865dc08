"""`orderworks gateway`: the HTTP gateway in the foreground."""

from collections.abc import Callable
from typing import Annotated

import typer

from orders.errors import ConfigurationError
from orders.settings import Settings
from worker import logs


def gateway(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen at.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer.")] = 1,
) -> None:
    """Answer HTTP requests until Ctrl-C: updates, files, cached reads, reports, and a page.

    On the loopback it lets in whoever is on this machine, until there is a token (`orderworks token`).
    Elsewhere it refuses to start without one.
    """
    serve = _server()
    Settings.load()  # What is wrong is said here, once, and not by each process.
    logs.configure()
    serve(host, port, workers)


def _server() -> Callable[[str, int, int], None]:
    """What serves, where the extra that it needs is installed."""
    try:
        from orderworks.gateway.server import serve  # noqa: PLC0415 - only this command needs it
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the package {error.name} is missing: the gateway needs the extra `gateway`: "
            "pip install 'orderworks[gateway]'"
        ) from None
    return serve
