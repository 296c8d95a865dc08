"""RQ with workers that run jobs without a fork: with a fork per job, the default, about 60 a second."""

import logging
import os
import sys

from redis import Redis
from rq import Queue, SimpleWorker

from bench.peers import job
from bench.peers.sending import send_each

server = Redis.from_url(os.environ["QUEUE_URL"])
queue = Queue(connection=server)


def send(order_id: int, total: str, version: int) -> None:
    """Send one update; its result is not stored."""
    queue.enqueue(job.update, order_id, total, version, result_ttl=0)


def work() -> None:
    """Run a worker until the process is ended."""
    SimpleWorker([queue], connection=server).work(logging_level=logging.ERROR)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work()
    else:
        send_each(send)
