"""The Celery app and the life of a worker process. `celery -A worker worker|beat|flower` finds both."""
