"""Nudges are sent by a Celery app that has nothing to do with those of the application."""

import logging

import pytest

from orderworks.core.errors import ConfigurationError
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


@pytest.mark.parametrize(
    "address",
    [
        "foo://x",
        "unix:///redis.sock",
        "redis://host:port/0",
        "redis://[::1/0",
        "kafka://x",
        "a.b:c://x",
    ],
)
def test_address_of_no_broker_is_refused_before_anything_is_accepted(address: str) -> None:
    with pytest.raises(ConfigurationError, match="^CELERY_BROKER_URL: Celery has no broker"):
        Nudges(address)


def test_refusal_of_an_address_does_not_show_its_password() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Nudges("foo://user:hunter2@host")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("address", ["amqp://a:b@host//", "rediss://host:1/0", "redis+socket:///x"])
def test_address_of_a_broker_is_taken_without_a_connection(address: str) -> None:
    Nudges(address).close()
