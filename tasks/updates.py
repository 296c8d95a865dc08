"""Order updates: drain a shard of the stream, or the outbox; accept updates of Celery clients."""

import time
from contextlib import suppress
from typing import Any

import redis
import sqlalchemy as sa
import structlog
from celery.exceptions import Reject, SoftTimeLimitExceeded

from orderworks.core.routing import TaskName
from orderworks.updates.drain import Drain
from orderworks.updates.ingest import UpdateIngest
from tasks.base import summary, task
from worker.broker import messages_wait
from worker.lifecycle import current

log = structlog.get_logger()

RETRY_PAUSE = 1.0
"""Seconds before a message that cannot be processed is requeued, so that retries have a pause."""


@task(TaskName.DRAIN_UPDATES)
def drain_updates(shard: int) -> dict[str, Any]:
    """Apply the waiting updates of a shard; nudge again if the time slice ended first.

    The outbox is shard -1. A second task for the same shard returns at once. After a failure, committed
    batches stay, the rest is still in the stream, and the next update or sweep nudges.
    """
    resources = current()
    source = resources.update_source(shard)
    drain = Drain(resources.engine, source, resources.cache, resources.settings, messages_wait)
    try:
        result = drain.run()
        if result.more:
            drain_updates.delay(shard)
    except Exception:
        with suppress(redis.RedisError):
            resources.stream.release_nudge(shard)
        raise
    return summary(result)


@task(TaskName.APPLY_UPDATES)
def apply_updates(updates: Any, *more: Any) -> dict[str, Any]:  # noqa: ANN401 - a client's
    """Accept the updates of a client; return the number of accepted and of dead-lettered ones.

    The message may be delivered twice, late, or in any order: the versions of the updates decide, and a
    dead letter is added once. Here the message is the work, so it must not be lost. If the stream is
    full or unavailable, the updates go into the outbox. So no retry by Celery is needed, whose message
    would be lost if the broker refused it, or after the last retry. If PostgreSQL is needed and
    unavailable, that is retried for some seconds, and then the message is rejected to the end of its
    queue: it is in the broker all the time, and is delivered again as often as needed. Only a message
    that kills its child process each time is given up, as of any task, after `max_retries`.
    """
    resources = current()
    try:
        # Several arguments are a list that was passed unpacked: a dead letter, with that reason.
        payload = (updates, *more) if more else updates
        return summary(UpdateIngest(resources.engine, resources.stream, _nudge).ingest(payload))
    except (sa.exc.SQLAlchemyError, SoftTimeLimitExceeded) as error:
        log.warning("updates_requeued", error=str(error))
        time.sleep(RETRY_PAUSE)
        raise Reject(type(error).__name__, requeue=True) from error


def _nudge(shard: int) -> None:
    """Nudge; a failure is logged only, because the updates are accepted and the sweep nudges, too."""
    try:
        drain_updates.delay(shard)
    except Exception as error:  # noqa: BLE001 - the updates are accepted, so the task must not fail
        log.warning("nudge_deferred", to="sweep", shard=shard, error=str(error))
