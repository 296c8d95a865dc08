"""Celery with its defaults and two children, except that it acknowledges after the task."""

import os

from celery import Celery

from bench.peers import job
from bench.peers.sending import send_each

app = Celery("bench", broker=os.environ["QUEUE_URL"], set_as_current=False)
app.conf.update(task_acks_late=True)
update = app.task(name="update")(job.update)


def send(order_id: int, total: str, version: int) -> None:
    """Send one update."""
    update.apply_async((order_id, total, version))


if __name__ == "__main__":
    send_each(send)
