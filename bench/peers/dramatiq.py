"""dramatiq on Redis: it acknowledges after the work, in threads of each process."""

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
