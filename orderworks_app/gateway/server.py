"""The server processes: uvicorn, with our logs, and never an open door to other machines."""

import os
import signal
import sys

import sqlalchemy as sa
import uvicorn

from orderworks.core import logging
from orderworks.core.database import make_engine
from orderworks.core.errors import ConfigurationError
from orderworks.core.settings import Settings
from orderworks_app.gateway.auth.loopback import is_loopback
from orderworks_app.gateway.auth.token_store import count_valid

APP = "orderworks_app.gateway.app:app_of_environment"
"""Each process makes its own, from the environment."""

SHUTDOWN_GRACE = 5
"""Seconds that requests under way have when the server is asked to stop."""


def serve(settings: Settings, workers: int) -> None:
    """Answer requests until a signal ends it; those under way are finished, within bounds.

    Raises:
        ConfigurationError: other machines could use it, and there is no token.
    """
    if not is_loopback(settings.gateway_host):
        _refuse_without_tokens(settings)
    logging.configure()
    # Each process reads its settings from the environment; this one's may be an option's.
    os.environ["GATEWAY_HOST"] = settings.gateway_host
    # uvicorn hands the signal on when it has shut down; that is a good end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    run(APP, settings.gateway_host, settings.gateway_port, workers)


def run(app: str, host: str, port: int, workers: int) -> None:
    """Answer by the application that the factory of this name makes, as the gateway answers."""
    uvicorn.run(
        app,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_GRACE,
    )


def _refuse_without_tokens(settings: Settings) -> None:
    """Refuse where nobody could be told from anybody. With PostgreSQL away nobody is let in anyway."""
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
            "no token: make one with `orderworks token create`, or listen at 127.0.0.1"
        )
