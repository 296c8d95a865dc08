"""Authorization: tokens, scopes, revocation and rate limits."""

import asyncio
import re
import socket
import time
from asyncio import gather
from collections.abc import Callable

import httpx
import pytest
import sqlalchemy as sa

from orderworks.core.errors import InvalidInput, TokenNotFound
from orderworks.core.redis import Redis, make_async_redis
from orderworks.core.schema import api_tokens
from orderworks.core.settings import Settings
from orderworks_app.gateway.auth import token_cache
from orderworks_app.gateway.auth.loopback import is_loopback
from orderworks_app.gateway.auth.rate_limit import RateLimits
from orderworks_app.gateway.auth.scopes import Scope
from orderworks_app.gateway.auth.token_store import (
    create_token,
    delete_revoked_tokens,
    list_tokens,
    revoke_token,
)
from tests.support.gateways import JSON, client_of, running_gateway
from tests.support.processes import eventually

Making = Callable[..., str]

PAID = {"status": "paid"}


@pytest.fixture
def make(engine: sa.Engine) -> Making:
    """Create a token."""

    def create(name: str, *scopes: Scope, rate: float | None = None) -> str:
        with engine.begin() as connection:
            return create_token(connection, name, scopes, rate)

    return create


def test_only_the_hash_of_a_token_is_stored(make: Making, engine: sa.Engine) -> None:
    token = make("shop", Scope.READ, Scope.ENQUEUE)
    with engine.connect() as connection:
        (row,) = connection.execute(sa.select(api_tokens)).mappings()
        (listed,) = list_tokens(connection)
    assert token not in str(dict(row))
    assert len(row["digest"]) == 32
    assert (listed.name, listed.scopes) == ("shop", [Scope.ENQUEUE, Scope.READ])


def test_token_name_is_unique(make: Making, engine: sa.Engine) -> None:
    make("shop", Scope.READ)
    with engine.begin() as connection:
        revoke_token(connection, "shop")
    for name in ("shop", "", "a b", "x" * 65):
        with pytest.raises(InvalidInput):
            make(name, Scope.READ)
    with pytest.raises(TokenNotFound), engine.begin() as connection:
        revoke_token(connection, "nobody")


def test_loopback_is_open_until_first_token(
    settings: Settings, http: httpx.Client, make: Making
) -> None:
    assert http.post("/v1/orders/1", json=PAID).status_code == 202
    make("first", Scope.READ)
    with running_gateway(settings) as address, client_of(address) as client:
        refused = client.post("/v1/orders/1", json=PAID)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


def test_revoking_the_last_token_does_not_reopen_the_loopback(
    settings: Settings, make: Making, engine: sa.Engine
) -> None:
    make("last", Scope.READ)
    with engine.begin() as connection:
        revoke_token(connection, "last")
    with running_gateway(settings) as address, client_of(address) as client:
        assert client.post("/v1/orders/1", json=PAID).status_code == 401


def test_loopback_is_open_again_when_all_revoked_tokens_were_deleted(
    settings: Settings, make: Making, engine: sa.Engine
) -> None:
    make("last", Scope.READ)
    with engine.begin() as connection:
        revoke_token(connection, "last")
        assert delete_revoked_tokens(connection) == 1
    with running_gateway(settings) as address, client_of(address) as client:
        assert client.post("/v1/orders/1", json=PAID).status_code == 202
    make("last", Scope.READ)


def test_valid_token_prevents_the_deletion_of_revoked_ones(make: Making, engine: sa.Engine) -> None:
    for name in ("valid", "revoked"):
        make(name, Scope.READ)
    with engine.begin() as connection:
        revoke_token(connection, "revoked")
        with pytest.raises(InvalidInput, match="1 token is valid"):
            delete_revoked_tokens(connection)
        assert [each.name for each in list_tokens(connection)] == ["revoked", "valid"]


def test_token_allows_only_its_scopes(settings: Settings, make: Making) -> None:
    reader, writer = make("reader", Scope.READ), make("writer", Scope.ENQUEUE)
    with running_gateway(settings) as address:
        with client_of(address, writer) as client:
            assert client.post("/v1/orders/1", json=PAID).status_code == 202
        with client_of(address, reader) as client:
            refused = client.post("/v1/orders/1", json=PAID)
        with client_of(address, "ow_made-up") as client:
            unknown = client.post("/v1/orders/1", json=PAID)
    assert refused.status_code == 403
    assert "enqueue" in refused.json()["detail"]
    assert 'scope="enqueue"' in refused.headers["WWW-Authenticate"]
    assert unknown.status_code == 401


def test_every_operation_requires_a_token(settings: Settings, make: Making) -> None:
    make("first", Scope.READ)
    with running_gateway(settings) as address, client_of(address) as client:
        paths = client.get("/openapi.json").json()["paths"]
        operations = [(method, path) for path in paths for method in paths[path] if "/v1/" in path]
        assert ("post", "/v1/orders:batch") in operations
        for method, path in operations:
            answer = client.request(method, re.sub(r"\{\w+\}", "1", path), headers=JSON)
            assert answer.status_code == 401, (method, path)


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "Bearer \xe9", "x"])
def test_invalid_authorization_header_gets_401(
    settings: Settings, make: Making, header: str
) -> None:
    make("first", Scope.ENQUEUE)
    with running_gateway(settings) as address, client_of(address) as client:
        refused = client.post(
            "/v1/orders/1", json=PAID, headers={b"Authorization": header.encode("latin-1")}
        )
    assert refused.status_code == 401


@pytest.mark.slow
def test_revoked_token_is_rejected_within_seconds(
    settings: Settings, make: Making, engine: sa.Engine
) -> None:
    token = make("shop", Scope.ENQUEUE)
    with running_gateway(settings) as address, client_of(address, token) as client:
        assert client.post("/v1/orders/1", json=PAID).status_code == 202
        with engine.begin() as connection:
            revoke_token(connection, "shop")
        eventually(
            lambda: client.post("/v1/orders/1", json=PAID).status_code == 401,
            within=3 * token_cache.FRESH_SECONDS,
        )


def test_concurrent_rate_requests_share_one_redis_call(settings: Settings, cache: Redis) -> None:
    async def ask() -> list[float]:
        async with make_async_redis(settings.cache, 5) as client:
            rates = RateLimits(client, timeout=5)
            return [*await gather(*[rates.wait_before("quick", 10_000) for _ in range(50)])]

    cache.config_resetstat()
    assert asyncio.run(ask()) == [0.0] * 50
    calls = cache.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert calls <= 2, "once, and once before it if the server did not have the script"


@pytest.mark.slow
def test_first_token_ends_streams_opened_without_a_token(settings: Settings, make: Making) -> None:
    with running_gateway(settings) as address, client_of(address) as client:
        with client.stream("GET", "/v1/overview/events") as overview:
            lines = overview.iter_lines()
            assert next(line for line in lines if line.startswith("event: "))
            make("first", Scope.READ)
            started = time.monotonic()
            assert all(time.monotonic() - started < 3 * token_cache.FRESH_SECONDS for _ in lines)
        assert client.get("/v1/overview/events").status_code == 401


def test_rate_limit_is_shared_by_all_gateways(settings: Settings, make: Making) -> None:
    token = make("slow", Scope.ENQUEUE, rate=0.01)
    with (
        running_gateway(settings) as one,
        running_gateway(settings) as other,
        client_of(one, token) as first,
        client_of(other, token) as second,
    ):
        allowed, *refused = [
            client.post("/v1/orders/1", json=PAID) for client in (first, second) * 2
        ]
    assert allowed.status_code == 202
    for answer in refused:
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 101


def test_rate_is_not_limited_without_redis(
    settings: Settings, make: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make("slow", Scope.ENQUEUE, rate=1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        without = settings.model_copy(update={"cache_redis_url": silent_url, "cache_timeout": 0.1})
        with running_gateway(without) as address, client_of(address, token) as client:
            statuses = [client.post("/v1/orders/1", json=PAID).status_code for _ in range(5)]
    assert statuses == [202] * 5


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - what is tested
        ("::", False),
        ("10.0.0.1", False),
        ("shop.example", False),
        ("", False),
    ],
)
def test_loopback_addresses_are_recognized(host: str, *, local: bool) -> None:
    assert is_loopback(host) is local


def test_public_address_without_a_token_gets_401(settings: Settings) -> None:
    """This holds for clients on this machine too: behind a proxy, every client seems to be one."""
    public = settings.model_copy(update={"gateway_host": "0.0.0.0"})  # noqa: S104 - what is tested
    with running_gateway(public) as address, client_of(address) as client:
        assert client.post("/v1/orders/1", json=PAID, headers=JSON).status_code == 401
        assert client.get("/healthz").status_code == 200
