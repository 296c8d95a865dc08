"""`orderworks gateway`: runs the HTTP gateway in the foreground."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from orderworks.core.errors import ConfigurationError

if TYPE_CHECKING:
    from orderworks.core.settings import Settings


def gateway(
    host: Annotated[
        str | None, typer.Option(help="Address to listen at [GATEWAY_HOST, 127.0.0.1].")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Port to listen at [GATEWAY_PORT, 8000]."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Server processes.")] = 1,
) -> None:
    """Serve HTTP until Ctrl-C: updates, files, cached reads, reports, and a page.

    On the loopback, clients on this machine need no token until one is created (`orderworks token`). On
    another address it refuses to start without a token.
    """
    from orderworks.core.settings import Settings

    serve = _load_server()
    options = {"gateway_host": host, "gateway_port": None if port is None else str(port)}
    overrides = {name: value for name, value in options.items() if value is not None}
    serve(Settings.load(**overrides), workers)


def _load_server() -> Callable[["Settings", int], None]:
    """Import the server.

    Raises:
        ConfigurationError: the extra `gateway` is not installed.
    """
    try:
        from orderworks_app.gateway.server import serve
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the package {error.name} is missing: the gateway needs the extra `gateway`: "
            "pip install 'orderworks[gateway]'"
        ) from None
    return serve
