"""The server processes: uvicorn with our logging, and no start without tokens on a public address."""

import os
import signal
import sys

import sqlalchemy as sa
import structlog
import uvicorn

from orderworks.core import logging
from orderworks.core.database import make_engine
from orderworks.core.errors import ConfigurationError
from orderworks.core.settings import Settings
from orderworks_app.gateway.auth.loopback import is_loopback
from orderworks_app.gateway.auth.token_store import count_valid
from orderworks_app.gateway.http.descriptors import max_streams, raise_limit
from orderworks_app.gateway.http.protocol import HttpConnection

log = structlog.get_logger(__name__)

APP = "orderworks_app.gateway.app:app_of_environment"
"""The factory by which each process creates its application."""

SHUTDOWN_GRACE = 5
"""Seconds that running requests have when the server is stopped."""


def serve(settings: Settings, workers: int) -> None:
    """Serve until a signal; running requests may end within `SHUTDOWN_GRACE`.

    Raises:
        ConfigurationError: an address of a server is not set, or the gateway would be reachable from
            other machines and there is no token.
    """
    _require_addresses(settings)
    if not is_loopback(settings.gateway_host):
        _refuse_without_tokens(settings)
    logging.configure()
    raise_limit()
    _warn_of_few_streams(settings)
    # Each process reads its settings from the environment; an option may have changed this one.
    os.environ["GATEWAY_HOST"] = settings.gateway_host
    # uvicorn raises the signal again after its shutdown; the exit code is to be 0.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    run(APP, settings.gateway_host, settings.gateway_port, workers)


def run(app: str, host: str, port: int, workers: int) -> None:
    """Serve the application that the named factory creates, with the gateway's options of uvicorn."""
    uvicorn.run(
        app,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        http=HttpConnection,  # type: ignore[arg-type]  # asyncio takes this kind of protocol as well
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_GRACE,
    )


def _require_addresses(settings: Settings) -> None:
    """Raise for an address that is not set, before a process starts that would only log it."""
    for name in ("database", "stream", "cache", "broker"):
        getattr(settings, name)


def _warn_of_few_streams(settings: Settings) -> None:
    """Log that the limit of open files allows fewer event streams than configured."""
    configured = settings.gateway_max_streams
    if (allowed := max_streams(configured)) < configured:
        log.warning("event_streams_limited", configured=configured, allowed=allowed)


def _refuse_without_tokens(settings: Settings) -> None:
    """Raise if there is no valid token. Without PostgreSQL, start: every request is refused anyway."""
    engine = make_engine(settings, "orderworks-gateway")
    try:
        with engine.connect() as connection:
            valid = count_valid(connection)
    except sa.exc.OperationalError:
        return
    finally:
        engine.dispose()
    if not valid:
        raise ConfigurationError(
            f"GATEWAY_HOST: {settings.gateway_host} can be reached from other machines, and there is "
            "no valid token: create one with `orderworks token create`, or listen at 127.0.0.1"
        )
