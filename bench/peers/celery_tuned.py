"""Celery with the settings of its guide to optimizing and more: two workers without a pool."""

import os

from celery import Celery

from bench.peers import job
from bench.peers.sending import send_each

app = Celery("bench", broker=os.environ["QUEUE_URL"], set_as_current=False)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=256,
    worker_disable_rate_limits=True,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_pool_limit=1,
)
update = app.task(name="update")(job.update)


def main() -> None:
    """Send with one producer, since `apply_async` otherwise takes one from a pool each time."""
    with app.producer_or_acquire() as producer:

        def send(order_id: int, total: str, version: int) -> None:
            update.apply_async((order_id, total, version), producer=producer)

        send_each(send)


if __name__ == "__main__":
    main()
