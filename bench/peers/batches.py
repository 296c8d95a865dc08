"""celery-batches: a task that receives many messages at once, here with one statement for all."""

import os
from typing import Any

from celery import Celery
from celery_batches import Batches

from bench.peers import job
from bench.peers.sending import send_each

app = Celery("bench", broker=os.environ["QUEUE_URL"], set_as_current=False)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=2000,
    worker_enable_remote_control=False,
    broker_pool_limit=1,
)


def apply(requests: Any) -> None:  # noqa: ANN401 - a list of its requests
    """The task, for all messages since the last flush."""
    job.update_many(request.args for request in requests)


register: Any = app.task(name="update", base=Batches, flush_every=1000, flush_interval=1)
update = register(apply)


def send(order_id: int, total: str, version: int) -> None:
    """Send one update."""
    update.apply_async((order_id, total, version))


if __name__ == "__main__":
    send_each(send)
