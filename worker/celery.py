"""The Celery app. Importing this module opens no connection."""

from celery import Celery

from orderworks.core import logging
from worker import lifecycle, listening, liveness

app = Celery("orderworks")
app.config_from_object("celeryconfig")
lifecycle.connect()
logging.connect()
liveness.connect(app)
listening.connect(app)
