"""The Celery app. Importing it opens no connection."""

from celery import Celery

from worker import broker_heartbeat, lifecycle, postgres_listener, task_logging

app = Celery("orderworks")
app.config_from_object("celeryconfig")
lifecycle.connect()
task_logging.connect()
broker_heartbeat.connect(app)
postgres_listener.connect(app)
