"""Nudges: the Celery messages that say "look there". The work itself never travels in them.

A nudge that cannot be sent costs a delay, never data: the sweep finds the work. So sending one waits
for a bounded time, is tried once, and its failure is logged, not raised.
"""

import logging
import os

from celery import Celery
from kombu.exceptions import OperationalError

from orderworks.core.routing import QUEUE_OF, TaskName

log = logging.getLogger(__name__)


class Nudges:
    """Sends nudges over a broker; connects on the first one. Threads and forks may share it."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._app, self._owner = _make_app(broker_url), os.getpid()

    def send(self, task: TaskName, *arguments: str | int) -> None:
        """Ask the workers to run `task`."""
        if self._owner != os.getpid():
            # What a fork inherits may be locked by a thread that does not exist here.
            self._app, self._owner = _make_app(self._broker_url), os.getpid()
        try:
            self._app.send_task(task.value, args=arguments, queue=QUEUE_OF[task].value, retry=False)
        except (OperationalError, OSError) as error:
            log.warning("nudge_left_to_sweep task=%s error=%s", task.value, error)

    def close(self) -> None:
        """Close the connections to the broker."""
        self._app.close()


def _make_app(broker_url: str) -> Celery:
    """A Celery app that reads no configuration of the process it is in.

    The application may use Celery too: its module `celeryconfig`, CELERY_CONFIG_MODULE, CELERY_LOADER
    and Django's settings are for its own Celery apps.
    """
    config = {
        # Unlike broker_url, the environment's CELERY_BROKER_URL does not go before this one.
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
