"""Dead letters through the gateway: listed in pages, replayed by id or by a filter."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest
import sqlalchemy as sa

from orderworks.core.schema import dead_updates
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import UpdateStream
from tests.support.gateways import client_of, running_gateway

FILLED = 1_795_375_608_079 << 20
"""The version of the first dead letter."""


@pytest.fixture
def letter_ids(engine: sa.Engine) -> list[int]:
    """The ids of five dead letters: the last is unreadable, and the first two have another reason."""
    payloads = [
        OrderUpdate(order_id=each, total="1.00", status="paid").encode() for each in range(1, 5)
    ]
    with engine.begin() as connection:
        rows = [
            {
                "shard": 0,
                "entry": FILLED + number,
                "payload": payload,
                "reason": "no such customer" if number < 2 else "order does not exist",
                "first_seen": datetime.now(UTC),
                "attempts": 3,
            }
            for number, payload in enumerate([*payloads, b"{"])
        ]
        query = sa.insert(dead_updates).returning(dead_updates.c.id)
        return [connection.execute(query, each).scalar_one() for each in rows]


def test_dead_letters_are_listed_newest_first_in_pages(
    http: httpx.Client, letter_ids: list[int]
) -> None:
    seen: list[int] = []
    path = "/v1/dead?limit=2"
    while path:
        answer = http.get(path)
        assert answer.json()["total"] == 5
        seen += [letter["id"] for letter in answer.json()["dead"]]
        path = str(answer.links.get("next", {}).get("url", ""))
    assert seen == letter_ids[::-1]


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ({"reason": "CUSTOMER"}, [1, 0]),
        ({"order": "3"}, [2]),
        ({"since": "1h"}, [4, 3, 2, 1, 0]),
        ({"until": "1h"}, []),
        ({"replayed": "true"}, []),
        ({"reason": "order", "replayed": "false"}, [4, 3, 2]),
    ],
)
def test_dead_letters_are_filtered_by_order_reason_and_time(
    http: httpx.Client, letter_ids: list[int], conditions: dict[str, str], numbers: list[int]
) -> None:
    page = http.get("/v1/dead", params=conditions).json()
    assert [letter["id"] for letter in page["dead"]] == [letter_ids[each] for each in numbers]


def test_dead_letters_are_returned_by_id(http: httpx.Client, letter_ids: list[int]) -> None:
    page = http.get("/v1/dead", params={"id": [str(letter_ids[3]), str(letter_ids[0])]}).json()
    assert [letter["order_id"] for letter in page["dead"]] == [4, 1]
    assert http.get("/v1/dead", params={"id": "999"}).status_code == 404


def test_a_dry_run_replays_nothing(
    http: httpx.Client, letter_ids: list[int], waiting_count: Callable[[], int]
) -> None:
    asked = {"filter": {}, "dry_run": True}
    would = http.post("/v1/dead:replay", json=asked).json()
    assert (would["replayed"], would["left"]) == (0, 4)
    assert [each["id"] for each in would["unreadable"]] == [letter_ids[4]]
    assert waiting_count() == 0


def test_dead_letters_are_replayed_once_by_filter_or_by_id(
    http: httpx.Client, letter_ids: list[int], waiting_count: Callable[[], int]
) -> None:
    def replay(**asked: object) -> tuple[int, int]:
        done = http.post("/v1/dead:replay", json=asked).json()
        return done["replayed"], done["left"]

    assert replay(filter={"reason": "customer"}) == (2, 0)
    assert replay(filter={}, limit=1) == (1, 1)
    assert replay(filter={}) == (1, 0)
    assert replay(filter={}) == (0, 0)
    assert waiting_count() == 4
    assert replay(ids=letter_ids[:1]) == (1, 0), "by id, also those that were replayed before"
    assert replay(ids=[]) == (0, 0)
    assert waiting_count() == 5


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"ids": [1], "filter": {}},
        {"ids": ["01"]},
        {"filter": {"since": "soon"}},
        {"filter": {"reason": "\0"}},
        {"filter": {"order": -1}},
        {"filter": {}, "limit": 0},
        {"all": True},
    ],
)
def test_ambiguous_replay_request_replays_nothing(
    http: httpx.Client,
    letter_ids: list[int],
    waiting_count: Callable[[], int],
    asked: dict[str, object],
) -> None:
    assert http.post("/v1/dead:replay", json=asked).status_code == 422
    assert waiting_count() == 0


def test_unknown_id_replays_nothing(
    http: httpx.Client, letter_ids: list[int], waiting_count: Callable[[], int]
) -> None:
    assert http.post("/v1/dead:replay", json={"ids": [letter_ids[0], 999]}).status_code == 404
    assert waiting_count() == 0


@pytest.mark.slow
def test_replays_waiting_for_room_do_not_block_other_requests(
    settings: Settings,
    updates: UpdateStream,
    letter_ids: list[int],
    waiting_count: Callable[[], int],
) -> None:
    """There are more replays than threads, and the stream is full."""
    full = settings.model_copy(update={"stream_limit": 1})
    for shard in updates.all_shards():
        updates.append(shard, [OrderUpdate(order_id=9, status="paid").encode()])
    waiting = waiting_count()
    with (
        running_gateway(full) as address,
        client_of(address) as http,
        ThreadPoolExecutor(8) as pool,
    ):
        asked = [
            pool.submit(http.post, "/v1/dead:replay", json={"ids": [each]})
            for each in 2 * letter_ids[:4]
        ]
        for _ in range(10):
            started = time.monotonic()
            assert http.get("/v1/dead").json()["total"] == 5
            assert http.get("/v1/imports").status_code == 200
            assert time.monotonic() - started < 2
        assert not any(each.done() for each in asked)
        answers = [each.result() for each in asked]
    assert {each.status_code for each in answers} == {429}
    assert all(int(each.headers["Retry-After"]) >= 1 for each in answers)
    assert waiting_count() == waiting
