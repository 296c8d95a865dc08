"""The heartbeat of a worker: the rule by which a consumer in a given state hears its broker."""

from collections.abc import Callable
from time import monotonic
from types import SimpleNamespace

import pytest
from celery.worker import state

from orderworks.core.settings import Settings
from worker import broker_heartbeat

NOWHERE = "redis://127.0.0.1:1/0"

Hears = Callable[..., bool]


@pytest.fixture
def hears(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Hears:
    """Return a function: whether a consumer in a given state hears its broker."""

    def ask(*, free: bool, asked: float | None, held: int = 0, broker: str = "") -> bool:
        channel = SimpleNamespace(
            qos=SimpleNamespace(can_consume=lambda: free),
            _brpop_sent_at=None if asked is None else monotonic() - asked,
        )
        consumer = SimpleNamespace(
            task_consumer=SimpleNamespace(channel=channel),
            app=SimpleNamespace(conf=SimpleNamespace(broker_url=broker or settings.broker)),
        )
        monkeypatch.setattr(state, "reserved_requests", set(range(held)))
        return broker_heartbeat._hears_broker(consumer)  # type: ignore[arg-type]  # noqa: SLF001

    return ask


def test_consumer_with_recent_broker_reply_is_alive(hears: Hears) -> None:
    assert hears(free=True, asked=1.0)


def test_consumer_without_reply_is_not_alive_even_if_broker_answers_others(
    hears: Hears,
) -> None:
    assert not hears(free=True, asked=broker_heartbeat.MAX_SILENCE + 1)
    assert not hears(free=True, asked=None)


def test_fully_busy_consumer_is_alive_only_if_broker_answers_a_ping(hears: Hears) -> None:
    assert hears(free=False, asked=100.0, held=2)
    assert not hears(free=False, asked=100.0, held=2, broker=NOWHERE)


def test_idle_consumer_that_fetches_nothing_is_not_alive(hears: Hears) -> None:
    assert not hears(free=False, asked=100.0, held=0)


@pytest.mark.parametrize(
    ("silence", "alive"),
    [(1.0, True), (broker_heartbeat.MAX_AMQP_SILENCE + 1, False), (None, True)],
)
def test_consumer_of_another_broker_is_alive_while_something_arrives(
    silence: float | None, *, alive: bool
) -> None:
    connection = SimpleNamespace()
    if silence is not None:
        connection.last_heartbeat_received = monotonic() - silence
    consumer = SimpleNamespace(
        connection=SimpleNamespace(connection=connection),
        app=SimpleNamespace(conf=SimpleNamespace(broker_url="amqp://host//")),
    )
    assert broker_heartbeat._hears_broker(consumer) is alive  # type: ignore[arg-type]  # noqa: SLF001
