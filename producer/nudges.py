"""Nudges: Celery messages that have a worker do work which is stored elsewhere.

If a nudge cannot be sent, the sweep finds the work: that delays it, and loses nothing. So a nudge is
sent once, with a bounded wait, and a failure is logged, not raised.
"""

import logging
import os
from typing import Any

from celery import Celery
from kombu import Connection

from orderworks.core.errors import ConfigurationError
from orderworks.core.routing import QUEUE_OF, TaskName

log = logging.getLogger(__name__)


class Nudges:
    """Sends nudges to the broker; connects on the first. Threads and forked processes may share it."""

    def __init__(self, broker_url: str) -> None:
        """Prepare to send to the broker; open no connection.

        Raises:
            ConfigurationError: Celery cannot use a broker with such an address.
        """
        _check_transport(broker_url)
        self._broker_url = broker_url
        self._app, self._owner = _make_app(broker_url), os.getpid()

    def send(self, task: TaskName, *arguments: str | int) -> None:
        """Ask the workers to run `task`. A failure is logged only: the work is accepted already."""
        if self._owner != os.getpid():
            # The inherited one may be locked by a thread that does not exist in this process.
            self._app, self._owner = _make_app(self._broker_url), os.getpid()
        try:
            self._app.send_task(task.value, args=arguments, queue=QUEUE_OF[task].value, retry=False)
        except Exception as error:  # noqa: BLE001 - transports raise errors of many kinds
            log.warning(
                "nudge_deferred to=sweep task=%s error=%s", task.value, str(error) or repr(error)
            )

    def close(self) -> None:
        """Close the connections to the broker."""
        self._app.close()


def _check_transport(broker_url: str) -> None:
    """Load what kombu needs for a broker with such an address."""
    try:
        Connection(broker_url).transport  # noqa: B018 - a property that loads and makes it
    except Exception as error:
        scheme, _, _ = broker_url.partition("://")
        raise ConfigurationError(
            f"CELERY_BROKER_URL: Celery has no broker of the kind {scheme}://…: {error.args[0]}"
        ) from error


class _NudgeApp(Celery):
    """A Celery app that sends to one broker, and awaits no results.

    Celery prefers CELERY_BROKER_WRITE_URL, CELERY_BROKER_URL and CELERY_RESULT_BACKEND of the
    environment to its settings, but not to these attributes.
    """

    broker_url = ""
    backend_cls = "disabled"

    def connection_for_write(self, url: str | None = None, **options: Any) -> Connection:  # noqa: ANN401 - Celery's
        """Return a connection to the broker of this app, unless another one is named."""
        return super().connection_for_write(url or self.broker_url, **options)


def _make_app(broker_url: str) -> Celery:
    """Return a Celery app that reads no configuration of the process that it is in.

    The application may use Celery too: its module `celeryconfig`, its variables CELERY_* and Django's
    settings are for its own Celery apps.
    """
    config = {
        "task_serializer": "json",
        "broker_transport_options": {
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    }
    app = _NudgeApp(
        "orderworks-producer",
        set_as_current=False,
        loader="celery.loaders.app:AppLoader",
        config_source=config,
        fixups=[],
    )
    app.broker_url = broker_url
    return app
