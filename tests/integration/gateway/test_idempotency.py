"""`Idempotency-Key`: a repeated request is done once."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import sqlalchemy as sa

from orderworks.core.redis import Redis, make_async_redis
from orderworks.core.settings import Settings
from orderworks_app.gateway.auth.scopes import Scope
from orderworks_app.gateway.auth.token_store import create_token
from orderworks_app.gateway.dependencies import idempotency
from orderworks_app.gateway.http.problems import Problem
from tests.support.gateways import client_of, running_gateway
from tests.support.processes import eventually

KEY = {"Idempotency-Key": "order-42"}
NDJSON = {"Content-Type": "application/x-ndjson"}
PAID = {"status": "paid"}


def test_repeated_request_is_done_once_with_the_same_response(
    http: httpx.Client, waiting_count: Callable[[], int]
) -> None:
    first, again = (http.post("/v1/orders/1", json=PAID, headers=KEY) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert waiting_count() == 1


def test_response_is_kept_for_a_day(http: httpx.Client, stream: Redis) -> None:
    http.post("/v1/orders/1", json=PAID, headers=KEY)
    (key,) = stream.scan_iter("orders:gateway-answer:*")
    assert 86_000 < stream.ttl(key) <= 86_400


@pytest.mark.parametrize(
    ("path", "document"),
    [("/v1/orders/1", {"status": "sent"}), ("/v1/orders/2", PAID), ("/v1/orders/1?track=1", PAID)],
)
def test_different_request_with_same_key_is_refused(
    http: httpx.Client, waiting_count: Callable[[], int], path: str, document: dict[str, str]
) -> None:
    http.post("/v1/orders/1", json=PAID, headers=KEY)
    other = http.post(path, json=document, headers=KEY)
    assert other.status_code == 422
    assert other.json()["type"] == "urn:orderworks:problem:key-reused"
    assert waiting_count() == 1


def test_key_of_rejected_request_can_be_used_again(
    http: httpx.Client, waiting_count: Callable[[], int]
) -> None:
    assert http.post("/v1/orders/1", json={"status": ""}, headers=KEY).status_code == 422
    assert http.post("/v1/orders/1", json=PAID, headers=KEY).status_code == 202
    assert waiting_count() == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\xe9"])
def test_invalid_key_is_rejected(
    http: httpx.Client, waiting_count: Callable[[], int], key: str
) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    assert http.post("/v1/orders/1", json=PAID, headers=headers).status_code == 422
    assert waiting_count() == 0


def test_a_batch_is_done_once(http: httpx.Client, waiting_count: Callable[[], int]) -> None:
    lines = b"".join(b'{"order_id":%d,"status":"paid"}\n' % each for each in range(1, 20_001))
    first, again = (
        http.post("/v1/orders:batch", content=lines, headers=KEY | NDJSON) for _ in range(2)
    )
    other = http.post("/v1/orders:batch", content=lines[:-10], headers=KEY | NDJSON)
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert other.status_code == 422
    assert waiting_count() == 20_000


def test_partly_accepted_batch_is_not_done_again(
    settings: Settings, waiting_count: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored response has the line at which to continue, under another key."""
    monkeypatch.setenv("STREAM_LIMIT", "1000")
    lines = b"".join(b'{"order_id":%d,"status":"paid"}\n' % each for each in range(2, 9002, 2))
    with running_gateway(Settings.load()) as address, client_of(address) as client:
        first, again = (
            client.post("/v1/orders:batch", content=lines, headers=KEY | NDJSON) for _ in range(2)
        )
    assert (first.status_code, first.json()["accepted"]) == (429, 1000)
    assert again.json() == first.json()
    assert again.headers["Retry-After"] == first.headers["Retry-After"]
    assert waiting_count() == 1000


def test_concurrent_request_with_same_key_gets_409_with_retry_after(
    http: httpx.Client, stream: Redis, waiting_count: Callable[[], int]
) -> None:
    goes_on = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield b'{"order_id":1,"status":"paid"}\n'
        assert goes_on.wait(30)
        yield b'{"order_id":2,"status":"paid"}\n'

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(http.post, "/v1/orders:batch", content=slowly(), headers=KEY | NDJSON)
        try:
            eventually(lambda: list(stream.scan_iter("orders:gateway-answer:*")), within=20)
            refused = http.post("/v1/orders/9", json=PAID, headers=KEY)
        finally:
            goes_on.set()
        assert first.result().json()["accepted"] == 2
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:orderworks:problem:in-progress"
    assert int(refused.headers["Retry-After"]) >= 1
    assert waiting_count() == 2


def test_many_concurrent_repeats_do_not_block_other_requests(
    http: httpx.Client, stream: Redis, waiting_count: Callable[[], int]
) -> None:
    goes_on = threading.Event()

    def slowly() -> Iterator[bytes]:
        assert goes_on.wait(30)
        yield b'{"order_id":1,"status":"paid"}\n'

    with ThreadPoolExecutor(31) as pool:
        first = pool.submit(http.post, "/v1/orders:batch", content=slowly(), headers=KEY | NDJSON)
        try:
            eventually(lambda: list(stream.scan_iter("orders:gateway-answer:*")), within=20)
            again = [
                pool.submit(http.post, "/v1/orders/1", json=PAID, headers=KEY) for _ in range(30)
            ]
            assert http.get("/v1/imports").status_code == 200
            assert http.get("/v1/dead").status_code == 200
            assert {each.result().status_code for each in again} == {409}
        finally:
            goes_on.set()
        assert first.result().json()["accepted"] == 1
    assert waiting_count() == 1


def test_claim_of_dead_process_expires(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "CLAIM_SECONDS", 0.2)

    async def take(key: str) -> bool:
        client = make_async_redis(settings.stream, 5)
        try:
            return await idempotency.IdempotencyClaim(client, key).acquire() is None
        except Problem:
            return False
        finally:
            await client.aclose()

    assert asyncio.run(take("a-key"))
    eventually(lambda: asyncio.run(take("a-key")), within=20)


def test_claim_is_renewed_while_work_is_running(
    settings: Settings, stream: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "CLAIM_SECONDS", 2.0)
    seen: list[int] = []

    def renewed() -> bool:
        """Return whether the claim's remaining time has increased."""
        seen.append(stream.pttl("a-key"))
        return seen[-1] > min(seen) > 0

    async def fail_late() -> None:
        async with make_async_redis(settings.stream, 5) as client:
            claim = idempotency.IdempotencyClaim(client, "a-key")
            await claim.acquire()
            async with claim.kept_alive():
                await asyncio.to_thread(eventually, renewed, within=20)
                raise LookupError("the work failed")

    with pytest.raises(LookupError):
        asyncio.run(fail_late())
    assert not stream.exists("a-key")


def test_keys_of_two_tokens_are_independent(
    settings: Settings, engine: sa.Engine, waiting_count: Callable[[], int]
) -> None:
    with engine.begin() as connection:
        tokens = [create_token(connection, name, [Scope.ENQUEUE]) for name in ("a", "b")]
    with running_gateway(settings) as address:
        for token in tokens:
            with client_of(address, token) as client:
                answer = client.post("/v1/orders/1", json=PAID, headers=KEY)
                assert "Idempotency-Replayed" not in answer.headers
    assert waiting_count() == 2
