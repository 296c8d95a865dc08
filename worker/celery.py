"""The Celery app. Importing this module opens no connection."""

from celery import Celery

from worker import lifecycle, listening, liveness, logs

app = Celery("orderworks")
app.config_from_object("celeryconfig")
lifecycle.connect()
logs.connect()
liveness.connect(app)
listening.connect(app)
