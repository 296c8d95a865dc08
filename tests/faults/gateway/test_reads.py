"""The gateway's reads while a server is unavailable: bounded response times, and full recovery."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa

from orderworks.cache import invalidate
from orderworks.core.keys import import_progress
from orderworks.core.redis import Redis, make_redis
from orderworks.core.settings import Settings
from orderworks.imports.importer import Importer
from orderworks.imports.progress import PROGRESS_TTL, read_progress
from orderworks.reports.refresh import refresh
from tests.support.gateways import JSON, client_of, running_gateway
from tests.support.oracle import make_rows, write_orders
from tests.support.processes import eventually, frozen
from tests.support.servers import Valkey, running_valkey
from tests.support.tcp_proxy import TcpProxy, link_to

BOUND = 12.0
"""Seconds that any response may take while a server is unavailable."""

FILE = b"id,customer_id,total\n900001,1,19.99\n"


@pytest.fixture(autouse=True)
def hundred_orders(engine: sa.Engine) -> None:
    """Some orders of five customers."""
    write_orders(engine, make_rows(100, people=5))


@pytest.fixture
def postgresql_proxy(settings: Settings) -> Iterator[TcpProxy]:
    """A link to PostgreSQL."""
    with link_to(settings.database) as proxy:
        yield proxy


@pytest.fixture
def gateway(settings: Settings, postgresql_proxy: TcpProxy) -> Iterator[str]:
    """The address of a gateway that reaches PostgreSQL by the link."""
    linked = settings.model_copy(update={"database_url": postgresql_proxy.url})
    with running_gateway(linked) as address:
        yield address


@contextmanager
def outage(postgresql_proxy: TcpProxy, admin: sa.Engine, settings: Settings) -> Iterator[None]:
    """PostgreSQL cannot be reached by the link during the block."""
    postgresql_proxy.refuse_connections(10**9)
    database = sa.make_url(settings.database).database
    query = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
    with admin.connect() as connection:
        connection.execute(query, {"name": database})
    yield
    assert postgresql_proxy.refused, "no connection met the outage"
    postgresql_proxy.refuse_connections(0)


def get(http: httpx.Client, path: str) -> httpx.Response:
    """The response, which must come in time."""
    started = time.monotonic()
    answer = http.get(path)
    assert time.monotonic() - started < BOUND, path
    return answer


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and data of server-sent events."""
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        name = value if field == "event" else name
        if field == "data":
            yield name, json.loads(value)


def upload(http: httpx.Client) -> str:
    """Upload the file, as an import; its id."""
    accepted = http.post("/v1/imports", content=FILE, headers={"Content-Type": "text/csv"})
    assert accepted.status_code == 202
    import_id = str(accepted.json()["id"])
    assert accepted.headers["Location"] == f"/v1/imports/{import_id}"
    return import_id


def is_well(http: httpx.Client) -> bool:
    """Return whether reads that need PostgreSQL succeed."""
    paths = ("/v1/customers/2", "/v1/imports", "/v1/dead")
    return all(get(http, path).status_code == 200 for path in paths)


def is_unavailable(answer: httpx.Response) -> bool:
    """Return whether the response is 503 with `Retry-After`."""
    return (
        answer.status_code == 503
        and answer.json()["type"] == "urn:orderworks:problem:unavailable"
        and int(answer.headers["Retry-After"]) > 0
    )


def test_without_postgresql_cached_reads_are_served_and_others_get_503(
    engine: sa.Engine,
    admin: sa.Engine,
    settings: Settings,
    postgresql_proxy: TcpProxy,
    cache: Redis,
    http: httpx.Client,
) -> None:
    refresh(engine, cache, lambda ids: invalidate(cache, ids), 100)
    cached = get(http, "/v1/customers/1").json()
    assert cached["name"] == "Customer 1"
    report = get(http, "/v1/reports/top-customers").json()
    with outage(postgresql_proxy, admin, settings):
        assert get(http, "/v1/customers/1").json() == cached
        published = get(http, "/v1/reports/top-customers")
        assert (published.json(), int(published.headers["Age"]) >= 0) == (report, True)
        for path in ("/v1/customers/2", "/v1/imports", "/v1/imports/x", "/v1/dead"):
            assert is_unavailable(get(http, path)), path
        assert is_unavailable(http.post("/v1/customers:lookup", json={"ids": [1]}))
        status = get(http, "/v1/status").json()
        (postgresql,) = [each for each in status["parts"] if each["name"] == "postgresql"]
        assert (status["healthy"], postgresql["healthy"]) == (False, False)
        assert 'orderworks_up{server="postgresql"} 0.0' in get(http, "/metrics").text
        assert settings.database not in get(http, "/v1/imports").text
    eventually(lambda: is_well(http), 20, "it does not come back")
    assert 'orderworks_up{server="postgresql"} 1.0' in get(http, "/metrics").text


def test_without_postgresql_last_known_import_progress_is_served_with_its_age(
    importer: Importer,
    admin: sa.Engine,
    settings: Settings,
    postgresql_proxy: TcpProxy,
    stream: Redis,
    http: httpx.Client,
) -> None:
    import_id = upload(http)
    path = f"/v1/imports/{import_id}"
    importer.plan(import_id)
    known = get(http, path)
    assert (known.json()["status"], "Age" in known.headers) == ("running", False)
    key = import_progress(import_id)
    stream.expire(key, PROGRESS_TTL - 100)
    with outage(postgresql_proxy, admin, settings):
        response = get(http, path)
        assert response.status_code == 200
        assert 100 <= int(response.headers["Age"]) < 100 + BOUND
        mirrored = read_progress(stream, import_id)
        assert response.json() == {**(mirrored or {}), "waits_for_updates": None}
        stream.delete(key)
        assert is_unavailable(get(http, path))
    eventually(lambda: "Age" not in get(http, path).headers, 20, "it does not come back")


def test_unresponsive_postgresql_does_not_block_last_known_import_progress(
    http: httpx.Client, postgresql_proxy: TcpProxy
) -> None:
    """There are more requests than threads, and threads stay blocked until PostgreSQL answers."""
    path = f"/v1/imports/{upload(http)}"
    assert "Age" not in get(http, path).headers
    with ThreadPoolExecutor(10) as pool:
        with postgresql_proxy.silence():
            answers = [*pool.map(lambda _: get(http, path), range(30))]
            assert {each.status_code for each in answers} == {200}
            assert all("Age" in each.headers for each in answers)
            assert is_unavailable(get(http, "/v1/imports/x"))
        eventually(lambda: "Age" not in get(http, path).headers, 40, "it does not come back")


def test_event_streams_continue_and_report_unavailable_postgresql(
    importer: Importer,
    admin: sa.Engine,
    settings: Settings,
    postgresql_proxy: TcpProxy,
    gateway: str,
    http: httpx.Client,
) -> None:
    import_id = upload(http)
    with (
        client_of(gateway) as other,
        http.stream("GET", "/v1/overview/events") as overview,
        other.stream("GET", f"/v1/imports/{import_id}/events") as following,
    ):
        published, followed = (events(each.iter_lines()) for each in (overview, following))
        assert next(published)[1]["away"] == []
        assert next(followed)[0] == "progress"
        with outage(postgresql_proxy, admin, settings):
            event = next(data for _, data in published if data["away"])
            assert event["away"] == ["postgresql"]
            assert (event["updates"], event["stream"]["waiting"]) == (None, 0)
            name, reason = next(followed)
            assert (name, [*reason]) == ("away", ["detail"])
        later = next(data for _, data in published if not data["away"])
        assert later["imports"]["running"] == []
        for number in importer.plan(import_id):
            importer.load_chunk(import_id, number)
        name, last = list(followed)[-1]
        assert (name, last["status"]) == ("end", "done")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own for streams and cache."""
    with running_valkey(tmp_path / "valkey") as server:
        yield server


def test_without_redis_reads_use_postgresql_and_uploads_leave_no_file(
    settings: Settings, own_redis: Valkey
) -> None:
    apart = {"redis_url": own_redis.url, "cache_redis_url": own_redis.url}
    with (
        running_gateway(settings.model_copy(update=apart)) as address,
        client_of(address) as http,
        client_of(address) as other,
        other.stream("GET", "/v1/overview/events") as overview,
    ):
        published = events(overview.iter_lines())
        assert next(published)[1]["away"] == []
        customer = get(http, "/v1/customers/1").json()
        assert customer["name"] == "Customer 1"
        own_redis.kill()
        # On a busy machine the figures of PostgreSQL may be late at any moment, too.
        unavailable = ({*data["away"]} - {"postgresql"} for _, data in published)
        assert next(filter(None, unavailable)) == {"stream", "cache"}
        assert get(http, "/v1/customers/1").json() == customer
        assert get(http, "/v1/reports/top-customers").json()["rows"]
        assert get(http, "/v1/imports").status_code == 200
        assert is_unavailable(get(http, "/v1/imports/x"))
        refused = http.post("/v1/imports", content=FILE, headers={"Content-Type": "text/csv"})
        assert is_unavailable(refused)
        assert not any(each.is_file() for each in Path(urlsplit(settings.spool).path).rglob("*"))
        own_redis.start()
        assert not next(data for _, data in published if not data["away"])["away"]
        status = get(http, f"/v1/imports/{upload(http)}")
        assert status.json()["status"] == "accepted"


def test_unresponsive_redis_delays_requests_by_bounded_time(
    settings: Settings, own_redis: Valkey
) -> None:
    apart = {"redis_url": own_redis.url, "cache_redis_url": own_redis.url, "redis_timeout": 1.0}
    with (
        running_gateway(settings.model_copy(update=apart)) as address,
        client_of(address) as http,
        client_of(address) as other,
        other.stream("GET", "/v1/overview/events") as overview,
    ):
        published = events(overview.iter_lines())
        assert next(published)[1]["away"] == []
        with frozen(own_redis.process.pid):
            assert get(http, "/v1/customers/1").status_code == 200
            assert get(http, "/v1/reports/top-customers").json()["rows"]
            assert is_unavailable(get(http, "/v1/imports/x"))
            assert is_unavailable(http.post("/v1/imports/x:pause", headers=JSON))
            assert next(data for _, data in published if data["away"])["updates"]
        with make_redis(own_redis.url, timeout=5) as client:
            assert client.ping()
        assert next(data for _, data in published if not data["away"])["stream"]["waiting"] == 0
        assert get(http, "/v1/imports/x").status_code == 404
