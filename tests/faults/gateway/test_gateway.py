"""The gateway with unavailable servers, with faulty clients, and after it was killed.

Responses come in bounded time and name the cause; after the outage, no restart is needed.
"""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.updates.stream import UpdateStream
from orderworks_app.embedded.home import open_home
from orderworks_app.embedded.ports import LOOPBACK, port_of
from orderworks_app.gateway.auth import token_cache
from orderworks_app.gateway.dependencies import idempotency
from orderworks_app.gateway.http import middleware
from tests.support.gateways import client_of, running_gateway
from tests.support.processes import eventually
from tests.support.tcp_proxy import link_to

PAID = {"status": "paid"}
NDJSON = {"Content-Type": "application/x-ndjson"}
LINE = b'{"order_id":1,"status":"paid"}\n'

ALWAYS = 10**9
"""More connections than any test makes."""


@contextmanager
def process(tmp_path: Path, **environment: str) -> Iterator[tuple[str, psutil.Process]]:
    """A gateway in a process of its own, and its address; killed at the end."""
    port = port_of(open_home(tmp_path), "gateway")
    address = f"http://{LOOPBACK}:{port}"
    command = [sys.executable, "-m", "orderworks_app", "gateway", "--port", str(port)]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        started = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: is_alive(address), within=90)
        yield address, psutil.Process(started.pid)
    finally:
        started.kill()
        started.wait()


def is_alive(address: str) -> bool:
    """Return whether a gateway answers at an address."""
    try:
        return httpx.get(f"{address}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def open_request(address: str, path: str, *headers: str) -> socket.socket:
    """A connection on which the head of a POST was sent."""
    url = httpx.URL(address)
    connection = socket.create_connection((url.host, url.port), timeout=30)
    head = [f"POST {path} HTTP/1.1", f"Host: {url.host}", *headers, "", ""]
    connection.sendall("\r\n".join(head).encode())
    return connection


def test_gateway_starts_without_postgresql_reports_it_and_recovers(settings: Settings) -> None:
    """Tokens cannot be checked then, so every request is refused."""
    with link_to(settings.database) as link:
        link.refuse_connections(ALWAYS)
        linked = settings.model_copy(update={"database_url": link.url})
        with running_gateway(linked) as address, client_of(address) as client:
            ready = client.get("/readyz")
            assert ready.status_code == 503
            assert ready.json()["servers"] == {
                "postgresql": "away",
                "stream": "ok",
                "cache": "ok",
            }
            refused = client.post("/v1/orders/1", json=PAID)
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) >= 1
            assert "PostgreSQL" in refused.json()["detail"]
            assert link.refused > 0
            link.refuse_connections(0)
            assert client.post("/v1/orders/1", json=PAID).status_code == 202
            assert client.get("/readyz").status_code == 200


def test_updates_are_accepted_while_postgresql_is_unavailable(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Updates need Redis only; the token is cached."""
    monkeypatch.setattr(token_cache, "FRESH_SECONDS", 0.0)
    with link_to(settings.database) as link:
        linked = settings.model_copy(update={"database_url": link.url})
        with running_gateway(linked) as address, client_of(address) as client:
            assert client.post("/v1/orders/1", json=PAID).status_code == 202
            link.refuse_connections(ALWAYS)
            link.lose_answers(ALWAYS)
            for _time in range(3):
                assert client.post("/v1/orders/1", json=PAID).status_code == 202
            assert link.lost + link.refused > 0


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/orders/1", b'{"status":"paid"}'), ("/v1/orders:batch", LINE)]
)
def test_update_without_redis_is_refused_in_time_and_accepted_after_recovery(
    settings: Settings, path: str, body: bytes
) -> None:
    with link_to(settings.stream) as link:
        linked = settings.model_copy(update={"redis_url": link.url})
        with running_gateway(linked) as address, client_of(address) as client:
            link.refuse_connections(ALWAYS)
            refused = client.post(path, content=body, headers=NDJSON)
            assert refused.status_code == 503, refused.text
            assert int(refused.headers["Retry-After"]) >= 1
            assert settings.stream.partition("@")[0] not in refused.text
            assert link.refused > 0
            link.refuse_connections(0)
            assert client.post("/v1/orders/1", json=PAID).status_code == 202


def test_unresponsive_servers_delay_requests_by_bounded_time(settings: Settings) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        silent_address = f"{LOOPBACK}:{silent.getsockname()[1]}"
        mute = settings.model_copy(
            update={
                "database_url": f"postgresql://somebody@{silent_address}/orders",
                "redis_url": f"redis://{silent_address}/0",
                "cache_redis_url": f"redis://{silent_address}/0",
                "db_connect_timeout": 1,
                "redis_timeout": 1.0,
            }
        )
        with running_gateway(mute) as address, client_of(address) as client:
            ready = client.get("/readyz", timeout=15)
            assert set(ready.json()["servers"].values()) == {"away"}
            assert client.post("/v1/orders/1", json=PAID, timeout=15).status_code == 503


def test_missing_request_body_times_out_with_408(
    gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "BODY_TIMEOUT", 0.2)
    for path in ("/v1/orders/1", "/v1/orders:batch"):
        with open_request(
            gateway, path, "Content-Type: application/json", "Content-Length: 100"
        ) as connection:
            assert connection.recv(1000).startswith(b"HTTP/1.1 408")
    assert is_alive(gateway)


def test_gateway_survives_a_truncated_body(gateway: str, updates: UpdateStream) -> None:
    """Complete lines are accepted in whole chunks; half a line is not an update."""
    with open_request(
        gateway,
        "/v1/orders:batch",
        "Content-Type: application/x-ndjson",
        "Content-Length: 1000000",
    ) as connection:
        connection.sendall(LINE * 1500 + LINE[:10])
        eventually(lambda: updates.length(1), within=20)
    with client_of(gateway) as client:
        assert client.post("/v1/orders/2", json=PAID).status_code == 202
    assert updates.length(1) in (1000, 1500)


def test_endless_body_is_rejected(gateway: str) -> None:
    with open_request(
        gateway,
        "/v1/orders/1",
        "Content-Type: application/json",
        "Transfer-Encoding: chunked",
    ) as connection:
        piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        with pytest.raises(OSError, match="reset|pipe"):
            connection.sendall(piece * 100)
    assert is_alive(gateway)


def test_unterminated_line_uses_bounded_memory(tmp_path: Path, settings: Settings) -> None:
    size, most = 64 << 20, 32 << 20
    with process(tmp_path, GATEWAY_MAX_BATCH=str(2 * size)) as (address, gateway):
        httpx.post(f"{address}/v1/orders:batch", content=LINE * 1000, headers=NDJSON)
        before, peak, done = gateway.memory_info().rss, 0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.01):
                peak = max(peak, gateway.memory_info().rss)

        with ThreadPoolExecutor(1) as pool:
            watching = pool.submit(watch)
            pieces = (b"x" * 65_536 for _ in range(size // 65_536))
            answer = httpx.post(
                f"{address}/v1/orders:batch", content=pieces, headers=NDJSON, timeout=60
            )
            done.set()
            watching.result()
        assert answer.json()["rejected_count"] == 1
        assert 0 < peak - before < most


def test_idempotency_key_of_killed_gateway_becomes_usable_again(
    tmp_path: Path, settings: Settings, stream: Redis
) -> None:
    headers = {"Idempotency-Key": "once"}
    with (
        process(tmp_path) as (address, gateway),
        open_request(
            address,
            "/v1/orders:batch",
            "Content-Type: application/x-ndjson",
            "Content-Length: 1000",
            "Idempotency-Key: once",
        ),
    ):
        eventually(lambda: list(stream.scan_iter("orders:gateway-answer:*")), within=20)
        gateway.send_signal(signal.SIGKILL)
        eventually(lambda: not is_alive(address), within=20)
    with process(tmp_path) as (address, _gateway), client_of(address) as client:
        eventually(
            lambda: client.post("/v1/orders/1", json=PAID, headers=headers).status_code == 202,
            within=3 * idempotency.CLAIM_SECONDS,
        )
