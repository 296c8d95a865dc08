"""Order updates: drain a shard of the stream, or the outbox."""

from typing import Any

from orders.drain import Drain
from orders.names import TaskName
from tasks.task import summary, task
from worker.lifecycle import current
from worker.queues import messages_wait


@task(TaskName.DRAIN_UPDATES)
def drain_updates(shard: int) -> dict[str, Any]:
    """Apply what waits in a shard; nudge again if the time slice ended first. The outbox is shard -1.

    Two at once: the second one leaves at once. Failing half way: what is committed stays, the rest is
    still in the stream, and the sweep nudges.
    """
    process = current()
    backlog = process.backlog(shard)
    drain = Drain(process.engine, backlog, process.cache, process.settings, messages_wait)
    drained = drain.run()
    if drained.more:
        drain_updates.delay(shard)
    return summary(drained)
