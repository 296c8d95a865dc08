"""The Celery app. Importing this module opens no connection."""

from celery import Celery

from orderworks.core import logging
from worker import broker_heartbeat, lifecycle, postgres_listener

app = Celery("orderworks")
app.config_from_object("celeryconfig")
lifecycle.connect()
logging.connect()
broker_heartbeat.connect(app)
postgres_listener.connect(app)
