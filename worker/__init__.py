"""The Celery app and the life cycle of its processes, for `celery -A worker worker|beat|flower`."""
