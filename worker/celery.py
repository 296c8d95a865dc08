"""The Celery app. Importing it opens no connection."""

from celery import Celery

from worker import (
    broker_heartbeat,
    clock_report,
    compression,
    lifecycle,
    postgres_listener,
    redis_transport,
    task_logging,
)

redis_transport.register()
app = Celery("orderworks")
app.config_from_object("celeryconfig")
lifecycle.connect()
task_logging.connect()
clock_report.connect()
compression.connect()
broker_heartbeat.connect(app)
postgres_listener.connect(app)
