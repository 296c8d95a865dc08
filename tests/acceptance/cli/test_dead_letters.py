"""`orderworks dead`: list, filter and replay dead updates. No worker runs that would apply them."""

import json
from typing import Any

import pytest
import sqlalchemy as sa

from orderworks.core.redis import Redis
from orderworks.core.schema import dead_updates
from tests.support.celery_inspection import run as run_sql
from tests.support.commands import Done, RunCommand

LETTER = {
    "shard": 0,
    "entry": 1_795_375_608_079 << 20,
    "payload": b'{"order_id":42,"status":"paid"}',
    "reason": "order 42 does not exist",
    "first_seen": sa.func.now(),
    "attempts": 3,
}


@pytest.fixture(autouse=True)
def _empty(engine: sa.Engine, stream: Redis) -> None:
    run_sql(engine, "TRUNCATE dead_updates RESTART IDENTITY")
    stream.delete("orders:updates:{0}", "orders:updates:{1}")


def insert_dead(engine: sa.Engine, *changes: dict[str, object]) -> None:
    """Put dead updates into the table, as changes of `LETTER`."""
    with engine.begin() as connection:
        for number, change in enumerate(changes):
            letter = {**LETTER, "entry": int(str(LETTER["entry"])) + number, **change}
            connection.execute(sa.insert(dead_updates).values(letter))


def document(done: Done) -> Any:  # noqa: ANN401 - JSON
    """The JSON document that a command printed."""
    assert done.status == 0, done.err
    return json.loads(done.out)


def test_dead_update_is_shown_with_payload_reason_and_version(
    run: RunCommand, engine: sa.Engine
) -> None:
    insert_dead(engine, {}, {"payload": b"\xff[red]\x1b[2J", "reason": "cannot be read: [/x]"})
    (first,) = document(run("dead", "1", "--json"))["dead"]
    assert json.loads(first["payload"]) == {"order_id": 42, "status": "paid"}
    shown = {name: first[name] for name in ("id", "order_id", "attempts", "replayed_at", "version")}
    assert shown == {
        "id": 1,
        "order_id": 42,
        "attempts": 3,
        "replayed_at": None,
        "version": LETTER["entry"],
    }
    shown_text = run("dead", "1").out
    for word in ("order 42", "3 attempts", str(LETTER["entry"]), '{"order_id":42,"status":"paid"}'):
        assert word in shown_text
    unreadable = run("dead", "2").out
    assert "cannot be read: [/x]" in unreadable
    assert r"\xff[red]\x1b[2J" in unreadable


def test_filters_narrow_the_list_and_omitted_updates_are_counted(
    run: RunCommand, engine: sa.Engine
) -> None:
    insert_dead(
        engine,
        {"died_at": sa.text("now() - interval '3 days'")},
        {"payload": b'{"order_id":7,"status":"paid"}', "reason": "violates check constraint"},
        {"replayed_at": sa.func.now()},
    )

    def listed(*arguments: str) -> list[int]:
        return [each["id"] for each in document(run("dead", "--json", *arguments))["dead"]]

    assert listed() == [3, 2, 1]
    assert listed("--order", "42") == [3, 1]
    assert listed("--reason", "CHECK") == [2]
    assert listed("--since", "2d") == [3, 2]
    assert listed("--until", "48h") == [1]
    assert listed("--since", "2000-01-01", "--until", "2000-01-02") == []
    assert listed("--replayed") == [3]
    assert listed("--not-replayed", "--order", "42") == [1]
    assert listed("3", "1") == [3, 1]
    limited = run("dead", "--limit", "1", "--json")
    assert document(limited)["total"] == 3
    assert "only the newest 1 of 3" in limited.err
    assert [line.split()[0] for line in run("dead").out.splitlines()] == ["id", "3", "2", "1"]


@pytest.mark.parametrize(
    ("arguments", "replayed"),
    [
        (("--replay", "1"), {1}),
        (("--replay", "1", "2"), {1, 2}),
        (("--replay", "1", "--replay", "3"), {1, 3}),
        (("2", "--replay"), {2}),
        (("--replay-all",), {1, 3}),
        (("--replay-all", "--order", "7"), {3}),
        (("--replay-all", "--limit", "1"), {1}),
    ],
)
def test_replay_takes_updates_by_id_or_by_filter(
    run: RunCommand,
    engine: sa.Engine,
    stream: Redis,
    arguments: tuple[str, ...],
    replayed: set[int],
) -> None:
    insert_dead(
        engine,
        {},
        {"replayed_at": sa.func.now()},
        {"payload": b'{"order_id":7,"status":"paid"}'},
    )
    done = document(run("dead", "--json", *arguments))
    assert done == {"replayed": len(replayed), "left": 0, "unreadable": []}
    with engine.connect() as connection:
        query = sa.select(dead_updates.c.id).where(dead_updates.c.replayed_at.is_not(None))
        assert set(connection.scalars(query)) == {2, *replayed}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("99",), "no dead update has the id 99"),
        (("--replay", "1", "99"), "no dead update has the id 99"),
        (("five",), "is not a whole number"),
        (("--replay",), "--replay needs ids"),
        (("--replay-all", "1"), "--replay-all takes no ids"),
        (("--replay-all", "--replayed"), "--replay-all excludes"),
        (("1", "--order", "42"), "either ids or filters"),
        (("--since", "yesterday"), "neither a time"),
        (("--replay-all", "--rate", "0"), "--rate"),
    ],
)
def test_ambiguous_replay_arguments_replay_nothing_and_exit_2(
    run: RunCommand, engine: sa.Engine, arguments: tuple[str, ...], expected: str
) -> None:
    insert_dead(engine, {})
    done = run("dead", *arguments)
    assert done.status == 2
    assert expected in done.err
    assert "Traceback" not in done.err
    assert document(run("dead", "--json", "--replayed"))["total"] == 0


def test_unreadable_updates_are_reported_and_the_others_are_replayed(
    run: RunCommand, engine: sa.Engine
) -> None:
    insert_dead(engine, {"payload": b"garbage"}, {})
    done = run("dead", "--replay-all")
    assert done.status == 1
    assert "Replayed 1 updates" in done.out
    assert "Dead update 1 was not replayed: it cannot be read" in done.out
    again = run("dead", "--replay", "1", "--json")
    assert again.status == 1
    assert [each["id"] for each in json.loads(again.out)["unreadable"]] == [1]


def test_replay_stopped_by_server_error_reports_progress(
    run: RunCommand, engine: sa.Engine, stream: Redis
) -> None:
    insert_dead(engine, {}, {"payload": b'{"order_id":7,"status":"paid"}'})
    stream.set("orders:updates:{1}", "no stream")
    done = run("dead", "--replay-all", "--json")
    assert done.status == 1
    assert json.loads(done.out) == {"replayed": 1, "left": 1, "unreadable": []}
    assert done.err.startswith("orderworks: Redis cannot be used: WRONGTYPE")
    stream.delete("orders:updates:{1}")
    assert document(run("dead", "--replay-all", "--json"))["replayed"] == 1
