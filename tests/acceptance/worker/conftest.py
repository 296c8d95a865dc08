"""Fixtures of tests of workers."""

import pytest
from celery import Celery

from orderworks.core.settings import Settings


@pytest.fixture(scope="module")
def celery_app(settings: Settings) -> Celery:
    """The app of a worker with its tasks, configured as `celery -A worker` does it."""
    from worker.celery import app  # noqa: PLC0415 - reads the environment

    assert app.conf.broker_url == settings.broker
    app.loader.import_default_modules()
    return app
