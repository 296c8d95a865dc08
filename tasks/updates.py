"""Order updates: drain a shard of the stream, or the outbox; let updates of Celery clients in."""

import time
from typing import Any

import sqlalchemy as sa
import structlog
from celery.exceptions import Reject, SoftTimeLimitExceeded
from kombu.exceptions import OperationalError

from orderworks.core.routing import TaskName
from orderworks.updates.drain import Drain
from orderworks.updates.ingest import UpdateIngest
from tasks.base import summary, task
from worker.broker import messages_wait
from worker.lifecycle import current

log = structlog.get_logger()

RETRY_PAUSE = 1.0
"""Seconds before a message that cannot be served goes back, so that it does not go round at speed."""


@task(TaskName.DRAIN_UPDATES)
def drain_updates(shard: int) -> dict[str, Any]:
    """Apply what waits in a shard; nudge again if the time slice ended first. The outbox is shard -1.

    Two at once: the second one leaves at once. Failing half way: what is committed stays, the rest is
    still in the stream, and the sweep nudges.
    """
    process = current()
    backlog = process.update_source(shard)
    drain = Drain(process.engine, backlog, process.cache, process.settings, messages_wait)
    drained = drain.run()
    if drained.more:
        drain_updates.delay(shard)
    return summary(drained)


@task(TaskName.APPLY_UPDATES)
def apply_updates(updates: Any, *more: Any) -> dict[str, Any]:  # noqa: ANN401 - a client's
    """Accept the updates of a client; how many, and how many were none and are dead letters.

    Twice, late, or in any order: their versions decide, so it has no effect; a dead letter is known
    again. Here the message is the work, so it must not be lost. What a full or absent stream does not
    take goes into the outbox: no retry of Celery's is needed, whose message would be lost where the
    broker refuses it, or after the last one. If PostgreSQL is needed and away, that is tried for some
    seconds, then the message goes back to the end of its queue by a reject: it is in the broker all
    the time, and comes again for as long as it takes. Only a message that kills its child each time
    is given up, as of any task, after `max_retries`.
    """
    process = current()
    try:
        # Several arguments are a list that was not wrapped in one: kept, with the reason.
        whole = (updates, *more) if more else updates
        return summary(UpdateIngest(process.engine, process.stream, _nudge).ingest(whole))
    except (sa.exc.SQLAlchemyError, SoftTimeLimitExceeded) as error:
        log.warning("updates_go_back", error=str(error))
        time.sleep(RETRY_PAUSE)
        raise Reject(type(error).__name__, requeue=True) from error


def _nudge(shard: int) -> None:
    """The updates are accepted, so a broker that takes no message costs a delay only."""
    try:
        drain_updates.delay(shard)
    except OperationalError as error:
        log.warning("nudge_left_to_sweep", shard=shard, error=str(error))
