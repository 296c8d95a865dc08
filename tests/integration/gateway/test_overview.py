"""The overview: its events, the status, and the metrics."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import count
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from orderworks.cache import invalidate
from orderworks.core.errors import Unavailable
from orderworks.core.redis import Redis
from orderworks.reports.refresh import refresh
from orderworks.updates.messages import OrderUpdate
from orderworks_app.gateway.auth.scopes import Scope
from orderworks_app.gateway.auth.token_store import create_token
from orderworks_app.gateway.streaming import overview
from tests.support.gateways import client_of
from tests.support.types import AcceptUpdates, DrainAll, WriteRows
from worker.beat.entries import PlannedEntry, pause, register

PATH = "/v1/overview/events"


@contextmanager
def overviews(http: httpx.Client) -> Iterator[Iterator[dict[str, Any]]]:
    """The data of the overview's events, as they are received."""
    with http.stream("GET", PATH) as stream:
        lines = stream.iter_lines()
        yield (
            json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")
        )


def test_updates_during_a_failed_poll_are_in_the_next_rate(
    http: httpx.Client,
    seed: WriteRows,
    accept: AcceptUpdates,
    drain: DrainAll,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, polls = overview._database_figures, count(1)  # noqa: SLF001 - the poll itself

    def fail_once(engine: sa.Engine) -> overview.DatabaseFigures:
        if next(polls) == 2:
            accept([OrderUpdate(order_id=1, status="sent")])
            drain()
            raise Unavailable("PostgreSQL does not answer")
        return read(engine)

    seed({1: (1, "paid", Decimal(1), 1)})
    monkeypatch.setattr(overview, "_database_figures", fail_once)
    with overviews(http) as published:
        assert next(published)["updates"]["accepted"] == 0
        assert next(each for each in published if each["away"])["updates"] is None
        updates = next(each for each in published if not each["away"])["updates"]
    assert updates["accepted"] == 1
    assert updates["per_second"] > 0


@pytest.mark.slow
def test_overview_event_covers_every_section(
    http: httpx.Client,
    engine: sa.Engine,
    cache: Redis,
    seed: WriteRows,
    accept: AcceptUpdates,
    drain: DrainAll,
) -> None:
    seed({each: (each, "paid", Decimal(each), 1) for each in range(1, 6)})
    refresh(engine, cache, lambda ids: invalidate(cache, ids), 100)
    with engine.begin() as connection:
        register(connection, [PlannedEntry("a", "sweep", 5.0), PlannedEntry("b", "purge", 60.0)])
        pause(connection, "b")
    with overviews(http) as published:
        first = next(published)
        assert (first["away"], first["updates"]["per_second"]) == ([], None)
        assert (first["updates"]["accepted"], first["stream"]["waiting"]) == (0, 0)
        assert first["report"]["age_seconds"] >= 0
        assert [each["entry"] for each in first["beat"]] == ["a", "b"]
        assert first["beat"][1] == {
            "entry": "b",
            "task": "purge",
            "every": 60.0,
            "paused": True,
            "overdue": False,
            "succeeded_at": None,
            "error": None,
            "due_in": None,
        }
        accept([OrderUpdate(order_id=each, status="sent") for each in range(1, 6)])
        assert (
            next(each for each in published if each["stream"]["waiting"])["stream"]["waiting"] == 5
        )
        drain()
        counted = next(each for each in published if each["updates"]["accepted"])
        assert (counted["updates"]["applied"], counted["updates"]["dead"]) == (5, 0)
        assert counted["updates"]["per_second"] > 0
        assert next(published)["updates"]["per_second"] == 0


@pytest.mark.slow
def test_all_overview_streams_share_one_poll(http: httpx.Client, gateway: str) -> None:
    with overviews(http) as published, client_of(gateway) as other, overviews(other) as same:
        seen = {next(published)["at"] for _ in range(4)}
        assert len(seen & {next(same)["at"] for _ in range(4)}) >= 2


def test_status_is_computed_once_for_requests_within_seconds(http: httpx.Client) -> None:
    started = time.monotonic()
    first = http.get("/v1/status")
    first_duration = time.monotonic() - started
    assert not first.json()["healthy"], "there are no workers"
    assert {"name": "schema", "healthy": True, "detail": first.json()["parts"][1]["detail"]} in (
        first.json()["parts"]
    )
    started = time.monotonic()
    again = http.get("/v1/status")
    assert again.json() == first.json()
    assert time.monotonic() - started < first_duration / 2, (
        "a status waits a second for answers of workers"
    )


def test_metrics_endpoint_serves_prometheus_text(http: httpx.Client) -> None:
    answer = http.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert 'orderworks_up{server="postgresql"} 1.0' in answer.text
    assert "orderworks_updates_total" in answer.text


def test_each_endpoint_requires_its_scope(
    gateway: str, engine: sa.Engine, http: httpx.Client
) -> None:
    with engine.begin() as connection:
        tokens = {scope: create_token(connection, scope.value, [scope]) for scope in Scope}
    scopes: dict[tuple[str, str], Scope] = {
        ("GET", "/v1/customers/7"): Scope.READ,
        ("POST", "/v1/customers:lookup"): Scope.READ,
        ("GET", "/v1/reports/top-customers"): Scope.READ,
        ("GET", "/v1/imports"): Scope.READ,
        ("GET", "/v1/imports/x/rejects"): Scope.READ,
        ("GET", "/v1/dead"): Scope.READ,
        ("GET", "/v1/status"): Scope.READ,
        ("GET", "/metrics"): Scope.READ,
        ("POST", "/v1/imports"): Scope.ENQUEUE,
        ("POST", "/v1/imports/x:pause"): Scope.OPERATE,
        ("POST", "/v1/dead:replay"): Scope.OPERATE,
    }
    for scope, token in tokens.items():
        with client_of(gateway, token) as client:
            for (method, path), needed in scopes.items():
                headers = {"Content-Type": "application/json"} if method == "POST" else {}
                answer = client.request(method, path, headers=headers)
                assert (answer.status_code == 403) == (scope is not needed), (scope, method, path)
