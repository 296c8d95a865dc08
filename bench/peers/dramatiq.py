"""dramatiq on Redis: tasks run in threads of each process and are acknowledged after they have run."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers import job
from bench.peers.sending import send_each

broker = RedisBroker(url=os.environ["QUEUE_URL"])
dramatiq.set_broker(broker)
update = dramatiq.actor(job.update)

if __name__ == "__main__":
    send_each(update.send)
