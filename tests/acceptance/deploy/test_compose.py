"""Every service of docker-compose.yml, run as a plain process: it becomes healthy, works and stops.

Where a process is frozen, its own health check has to see it.
"""

import os
import signal
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import httpx
import psutil
import pytest
import redis
import sqlalchemy as sa

from orderworks.core import keys
from orderworks.core.database import database_address
from orderworks.core.redis import Redis, make_redis
from orderworks.core.schema import orders
from orderworks.updates.messages import OrderUpdate
from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.gateway.auth.scopes import Scope
from orderworks_app.gateway.auth.token_store import create_token
from producer import Producer
from tests.support.compose_processes import Composition, free_ports
from tests.support.databases import Databases
from tests.support.processes import eventually
from worker import broker_heartbeat, heartbeat
from worker.beat import entries as schedule

ServiceProcessHandle = subprocess.Popen[bytes]

WORKERS = ("worker-updates", "worker-imports")
BEATING = (*WORKERS, "beat")
SERVICES = (*BEATING, "flower")
THREADS = "worker-threads"

GRACE = 45
"""Seconds that a worker has to stop: its stop_grace_period."""


@pytest.fixture
def compose(tmp_path: Path) -> Composition:
    """The services, not started yet."""
    return Composition(tmp_path, free_ports("valkey", "cache", "flower", "gateway"))


@pytest.fixture
def valkeys(compose: Composition) -> Iterator[dict[str, ServiceProcessHandle]]:
    """Broker, stream and cache, as the file configures them."""
    with running(compose, "valkey", "cache") as processes:
        yield processes


@pytest.fixture
def database(databases: Databases, compose: Composition) -> Iterator[sa.Engine]:
    """A database without a schema, used instead of the one in the file."""
    name = f"composed_{os.getpid()}"
    url = databases.make(name)
    compose.set_secret("database_url", url)
    engine = sa.create_engine(database_address(url), poolclass=sa.NullPool)
    yield engine
    databases.drop(name)


@pytest.fixture
def migrated(compose: Composition, database: sa.Engine) -> sa.Engine:
    """The database after the file's own migration."""
    with compose.running("migrate") as migrate:
        assert migrate.wait(timeout=60) == 0, compose.log("migrate").read_text("utf-8")
    return database


@contextmanager
def running(compose: Composition, *services: str) -> Iterator[dict[str, ServiceProcessHandle]]:
    """Start services at once and wait until all are healthy."""
    with ExitStack() as block:
        processes = {name: block.enter_context(compose.running(name)) for name in services}
        for name in services:
            wait_until_healthy(compose, name)
        yield processes


def wait_until_healthy(compose: Composition, name: str) -> None:
    eventually(lambda: compose.is_healthy(name), 40, every=0.2)


@contextmanager
def frozen(process: ServiceProcessHandle) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, 5)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def client(compose: Composition, secret: str) -> Redis:
    return make_redis(compose.secret(secret), timeout=5)


@pytest.mark.parametrize(
    ("name", "secret", "policy", "keeps"),
    [
        ("valkey", "redis_url", "noeviction", True),
        ("cache", "cache_redis_url", "allkeys-lfu", False),
    ],
)
def test_valkey_persists_requires_password_and_turns_unhealthy_when_frozen(
    compose: Composition,
    name: str,
    secret: str,
    policy: str,
    keeps: bool,  # noqa: FBT001
) -> None:
    with running(compose, name) as processes, client(compose, secret) as app:
        assert app.config_get("maxmemory-policy") == {"maxmemory-policy": policy}
        pieces = app.config_get("hash-max-listpack-value")["hash-max-listpack-value"]
        assert keeps or pieces == "2048", "cached reads are longer than the default"
        app.set("kept", "yes")
        with pytest.raises(redis.exceptions.NoPermissionError):
            app.flushall()
        with (
            redis.Redis(port=compose.ports[name]) as anonymous,
            pytest.raises(redis.RedisError),
        ):
            anonymous.get("kept")
        with frozen(processes[name]):
            assert not compose.is_healthy(name)
        wait_until_healthy(compose, name)
        processes[name].kill()
    with running(compose, name), client(compose, secret) as app:
        assert app.exists("kept") == keeps


def test_services_become_healthy_work_and_stop_in_time(
    compose: Composition, valkeys: dict[str, ServiceProcessHandle], migrated: sa.Engine
) -> None:
    assert valkeys
    compose.add("standby", "beat")
    with running(compose, *SERVICES, "standby") as processes:
        apply_an_import_and_an_update(compose, migrated)
        assert_beat_sweeps(migrated)
        assert_flower_is_read_only(compose)
        assert not refusals(compose)
        for process in processes.values():
            process.terminate()
        assert {process.wait(timeout=GRACE) for process in processes.values()} == {0}
    assert not [path for name in SERVICES for path in compose.left_behind(name)]


def test_gateway_becomes_healthy_accepts_update_and_stops_in_time(
    compose: Composition, valkeys: dict[str, ServiceProcessHandle], migrated: sa.Engine
) -> None:
    with migrated.begin() as connection:
        token = create_token(connection, "shop", [Scope.ENQUEUE])
    address = f"http://{LOOPBACK}:{compose.ports['gateway']}/v1/orders/7"
    with running(compose, "gateway") as processes, client(compose, "redis_url") as stream:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "once"}
        for _time in range(2):
            said = httpx.post(address, json={"status": "paid"}, headers=headers, timeout=10)
            assert said.status_code == 202
        assert stream.xlen(keys.update_stream(7 % 2)) == 1
        with frozen(processes["gateway"]):
            assert not compose.is_healthy("gateway")
        processes["gateway"].terminate()
        assert processes["gateway"].wait(timeout=15) == 0
    assert "no permissions" not in compose.log("gateway").read_text("utf-8")
    assert not compose.left_behind("gateway")


def apply_an_import_and_an_update(compose: Composition, database: sa.Engine) -> None:
    """The import goes through the spool to its worker, the update through the stream to the other."""
    with make_producer(compose) as producer:
        customers = producer.import_file(b"id,name\n1,One\n", kind="customers").wait(timeout=30)
        producer.update(OrderUpdate(order_id=7, customer_id=1, total="9.99"))
    assert customers["applied"] == 1
    eventually(lambda: order_ids(database) == [7], 30)


def make_producer(compose: Composition) -> Producer:
    return Producer(
        redis_url=compose.secret("redis_url"),
        broker_url=compose.secret("celery_broker_url"),
        spool_url=compose.environment("worker-imports")["SPOOL_URL"],
    )


def order_ids(database: sa.Engine) -> list[int]:
    with database.connect() as connection:
        return list(connection.scalars(sa.select(orders.c.id)))


def assert_beat_sweeps(database: sa.Engine) -> None:
    def has_swept() -> bool:
        with database.connect() as connection:
            entries = schedule.read_entries(connection)
        return any(each.succeeded_at for each in entries if each.entry == "sweep")

    eventually(has_swept, 30)


def assert_flower_is_read_only(compose: Composition) -> None:
    password = compose.secret("flower_basic_auth")
    assert flower(compose, "/workers", "admin:wrong") == 401
    assert flower(compose, "/workers", password) == 200
    assert flower(compose, "/api/workers", password) == 200
    task = "/api/task/send-task/tasks.upkeep.sweep"
    assert flower(compose, task, password, b'{"args": []}') == 403


def flower(compose: Composition, path: str, password: str, body: bytes | None = None) -> int:
    """The status that Flower answers with."""
    request = Request(f"http://{LOOPBACK}:{compose.ports['flower']}{path}", body)
    request.add_header("Authorization", f"Basic {b64encode(password.encode()).decode()}")
    try:
        with urlopen(request, timeout=10) as response:  # noqa: S310 - our own server
            return int(response.status)
    except HTTPError as error:
        with error:
            return error.code


def refusals(compose: Composition) -> list[str]:
    """Log lines about commands that the Valkeys' access lists refused to a service."""
    lines = [
        line for name in SERVICES for line in compose.log(name).read_text("utf-8").splitlines()
    ]
    return [line for line in lines if "no permissions" in line]


def test_health_checks_detect_frozen_services_and_frozen_broker(
    compose: Composition, valkeys: dict[str, ServiceProcessHandle], migrated: sa.Engine
) -> None:
    compose.add(THREADS, "worker-imports", "--pool=threads", "--hostname=threads@%h")
    with running(compose, *SERVICES, THREADS) as processes:
        for name, process in processes.items():
            with frozen(process):
                assert_unhealthy(compose, name)
        for name in processes:
            wait_until_healthy(compose, name)
        with all_children_busy(compose, migrated):
            assert_heartbeat_continues(compose, "worker-updates")
            with frozen(valkeys["valkey"]):
                for name in (*BEATING, THREADS):
                    assert_heartbeat_stops(compose, name)
        for name in (*WORKERS, THREADS):
            wait_until_healthy(compose, name)


def assert_unhealthy(compose: Composition, name: str) -> None:
    """The health check fails for a frozen service. The heartbeat is dated back instead of awaited."""
    if name in (*BEATING, THREADS):
        make_old(compose.heartbeat(name))
    assert not compose.is_healthy(name), name


def assert_heartbeat_continues(compose: Composition, name: str) -> None:
    """It renews its heartbeat although it has requested no message for longer than MAX_SILENCE."""
    file, now = compose.heartbeat(name), time.time()
    eventually(
        lambda: file.stat().st_mtime > now + broker_heartbeat.MAX_SILENCE + heartbeat.INTERVAL, 20
    )


def assert_heartbeat_stops(compose: Composition, name: str) -> None:
    """It renews its heartbeat no longer, and its health check fails after a while."""
    file, silence = (
        compose.heartbeat(name),
        broker_heartbeat.MAX_SILENCE + 2 * heartbeat.INTERVAL,
    )
    eventually(lambda: time.time() - file.stat().st_mtime > silence, 20)
    make_old(file)
    assert not compose.is_healthy(name), name


def make_old(file: Path) -> None:
    """Date the last heartbeat so far back that the process counts as unhealthy."""
    then = time.time() - heartbeat.MAX_AGE - 1
    os.utime(file, (then, then))


@contextmanager
def all_children_busy(compose: Composition, database: sa.Engine) -> Iterator[None]:
    """Make both children of the updates' worker wait for tables that another session has locked."""
    with database.connect() as connection:
        connection.execute(sa.text("LOCK TABLE customers, orders IN ACCESS EXCLUSIVE MODE"))
        with make_producer(compose) as producer:
            for order_id in (1, 2):
                producer.update(OrderUpdate(order_id=order_id, customer_id=1, total="1"))
        eventually(lambda: waiting_sessions(connection) >= 2, 20)
        yield
        connection.rollback()


def waiting_sessions(connection: sa.Connection) -> int:
    query = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
    return int(connection.execute(sa.text(query)).scalar_one())
