"""`orderworks metrics`: all metrics, for Prometheus or a system that reads its format."""

import sys


def metrics() -> None:
    """Print the metrics in Prometheus' text format.

    They are read from the servers, so they are the same from any host. If a server is unavailable, its
    orderworks_up is 0 and its other metrics are missing; the exit status is still 0, so that this is
    reported too.
    """
    from prometheus_client import generate_latest

    from orderworks.core.settings import Settings
    from orderworks_app.observability.metrics import Metrics

    sys.stdout.write(generate_latest(Metrics.from_settings(Settings.load())).decode())
