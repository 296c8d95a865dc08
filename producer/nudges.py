"""Nudges: Celery messages that have a worker do work which is stored elsewhere.

If a nudge cannot be sent, the sweep finds the work: that delays it, and loses nothing. So a nudge is
sent once, with a bounded wait, and a failure is logged, not raised.
"""

import logging
import os

from celery import Celery
from kombu.exceptions import OperationalError

from orderworks.core.routing import QUEUE_OF, TaskName

log = logging.getLogger(__name__)


class Nudges:
    """Sends nudges to the broker; connects on the first. Threads and forked processes may share it."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._app, self._owner = _make_app(broker_url), os.getpid()

    def send(self, task: TaskName, *arguments: str | int) -> None:
        """Ask the workers to run `task`."""
        if self._owner != os.getpid():
            # The inherited one may be locked by a thread that does not exist in this process.
            self._app, self._owner = _make_app(self._broker_url), os.getpid()
        try:
            self._app.send_task(task.value, args=arguments, queue=QUEUE_OF[task].value, retry=False)
        except (OperationalError, OSError) as error:
            log.warning("nudge_deferred to=sweep task=%s error=%s", task.value, error)

    def close(self) -> None:
        """Close the connections to the broker."""
        self._app.close()


def _make_app(broker_url: str) -> Celery:
    """A Celery app that reads no configuration of the process it is in.

    The application may use Celery too: its module `celeryconfig`, CELERY_CONFIG_MODULE, CELERY_LOADER
    and Django's settings are for its own Celery apps.
    """
    config = {
        # Unlike broker_url, this is not overridden by CELERY_BROKER_URL in the environment.
        "broker_write_url": broker_url,
        "task_serializer": "json",
        "task_ignore_result": True,
        "broker_transport_options": {
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    }
    return Celery(
        "orderworks-producer",
        set_as_current=False,
        loader="celery.loaders.app:AppLoader",
        config_source=config,
        fixups=[],
    )
