"""Nudges are sent by a Celery app that has nothing to do with those of the application."""

import logging

import pytest

from orderworks.core.routing import TaskName
from producer.nudges import Nudges


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CELERY_CONFIG_MODULE", "no_such_module"),
        ("CELERY_LOADER", "no.such.loader:Loader"),
        ("DJANGO_SETTINGS_MODULE", "no_such_settings"),
        ("CELERY_BROKER_URL", "redis://127.0.0.1:1/0"),
        ("CELERY_BROKER_WRITE_URL", "redis://127.0.0.1:1/0"),
        ("CELERY_RESULT_BACKEND", "redis://127.0.0.1:1/0"),
    ],
)
def test_nudges_ignore_celery_configuration_of_the_application(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    nudges = Nudges("memory://localhost")
    with caplog.at_level(logging.WARNING):
        nudges.send(TaskName.PLAN_IMPORT, "an-import")
    nudges.close()
    assert not caplog.records, "it was sent, and nothing named by the variable was imported"
