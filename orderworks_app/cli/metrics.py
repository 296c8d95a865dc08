"""`orderworks metrics`: all numbers, for a metrics system."""

import sys

from prometheus_client import generate_latest

from orderworks.core.settings import Settings
from orderworks_app.observability.metrics import Metrics


def metrics() -> None:
    """Print the metrics in Prometheus' text format.

    They come from the ledgers, the streams and the queues, so they are the same from any host. Of a
    server that is away, orderworks_up is 0 and the rest of what it knows is missing; the exit status is
    0 all the same, so that this is told too.
    """
    sys.stdout.write(generate_latest(Metrics.from_settings(Settings.load())).decode())
