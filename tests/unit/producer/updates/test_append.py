"""Appends without a server: the test gives the replies, and checks what is sent."""

from collections.abc import Sequence
from typing import Any

import pytest
import redis
from redis.exceptions import BusyLoadingError, NoScriptError, OutOfMemoryError

from orderworks.core.effects import Pause
from orderworks.core.errors import (
    Backpressure,
    ConfigurationError,
    NotDurable,
    OrderworksError,
    PartlyAccepted,
    Unavailable,
)
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from producer.effects import NudgeEffect, ProducerEffect, ProducerSteps, Replies, RoundTrip
from producer.updates.append import Appender, AppendOptions
from producer.updates.chunking import UpdateChunk

LOST = redis.TimeoutError("no answer")
REFUSED = redis.ConnectionError("connection refused")
FULL = redis.ResponseError("BACKPRESSURE 1000000")


@pytest.fixture
def appends() -> Appender:
    return Appender(Settings.load())


def accepted(*numbers: int, nudge: int = 0) -> list[Any]:
    """Return the reply of the script to these updates."""
    return [nudge, [f"1-{number}".encode() for number in numbers]]


def play(steps: ProducerSteps[Any], *answers: Replies) -> tuple[Any, list[ProducerEffect]]:
    """Run the steps with these replies; return the result or error, and the effects."""
    script, taken = iter(answers), list[ProducerEffect]()
    answer = None
    try:
        while True:
            taken.append(steps.send(answer))
            answer = next(script) if isinstance(taken[-1], RoundTrip) else None
    except StopIteration as done:
        assert next(script, None) is None, "all answers were asked for"
        return done.value, taken
    except OrderworksError as error:
        assert next(script, None) is None, "all answers were asked for"
        return error, taken


def asks(steps: Sequence[ProducerEffect]) -> list[bytes]:
    """Return the commands of all round trips."""
    return [step.commands for step in steps if isinstance(step, RoundTrip)]


PLAIN = OrderUpdate(order_id=1, total=1)
VERSIONED = OrderUpdate(order_id=1, total=1, version=7)


def test_single_update_takes_one_round_trip_and_a_nudge_if_none_is_pending(
    appends: Appender,
) -> None:
    done, steps = play(appends.append_one(PLAIN, AppendOptions()), Replies([accepted(1)]))
    assert (done, len(steps)) == ("1-1", 1)
    done, steps = play(appends.append_one(PLAIN, AppendOptions()), Replies([accepted(1, nudge=1)]))
    assert (done, steps[1:]) == ("1-1", [NudgeEffect(1)])


def test_script_is_sent_in_full_after_noscript(appends: Appender) -> None:
    unknown = Replies([NoScriptError("No matching script.")])
    done, steps = play(appends.append_one(PLAIN, AppendOptions()), unknown, Replies([accepted(1)]))
    by_hash, in_full = asks(steps)
    assert done == "1-1"
    assert b"EVALSHA" in by_hash
    assert b"XADD" not in by_hash
    assert b"XADD" in in_full


def test_lost_reply_is_retried_only_with_a_version(appends: Appender) -> None:
    failed, steps = play(appends.append_one(PLAIN, AppendOptions()), Replies([], LOST))
    assert type(failed) is Unavailable
    assert len(steps) == 1
    done, steps = play(
        appends.append_one(VERSIONED, AppendOptions()), Replies([], LOST), Replies([accepted(2)])
    )
    assert done == "1-2"
    first, second = asks(steps)
    assert first == second
    failed, steps = play(
        appends.append_one(VERSIONED, AppendOptions()), Replies([], LOST), Replies([], LOST)
    )
    assert type(failed) is Unavailable
    assert len(steps) == 2


def test_refused_retry_leaves_the_first_attempt_uncertain(appends: Appender) -> None:
    failed, _ = play(
        appends.append_one(VERSIONED, AppendOptions(5)), Replies([], LOST), Replies([FULL])
    )
    assert type(failed) is Unavailable
    failed, _ = play(
        appends.append_chunk(UpdateChunk([VERSIONED]), 0, AppendOptions()),
        Replies([], LOST),
        Replies([FULL]),
    )
    assert isinstance(failed, PartlyAccepted)
    assert (failed.accepted, failed.refused, failed.uncertain) == (0, [], [VERSIONED])


def test_failed_connection_is_retried_once_and_a_timeout_is_not(
    appends: Appender,
) -> None:
    refused_connection = Replies([], REFUSED, sent=False)
    done, steps = play(
        appends.append_one(PLAIN, AppendOptions()), refused_connection, Replies([accepted(1)])
    )
    assert done == "1-1"
    assert isinstance(steps[1], Pause)
    failed, steps = play(
        appends.append_one(PLAIN, AppendOptions()), refused_connection, refused_connection
    )
    assert type(failed) is Unavailable
    failed, steps = play(appends.append_one(PLAIN, AppendOptions()), Replies([], LOST, sent=False))
    assert type(failed) is Unavailable
    assert len(steps) == 1


def test_only_full_shards_are_retried(appends: Appender) -> None:
    updates = [OrderUpdate(order_id=key, total=1) for key in (1, 2, 3, 4)]
    done, steps = play(
        appends.append_chunk(UpdateChunk(updates), 10, AppendOptions(wait_for_room=60)),
        Replies([accepted(1, 2), FULL]),
        Replies([FULL]),
        Replies([accepted(3, 4)]),
    )
    assert done == 14
    assert [type(step) for step in steps] == [RoundTrip, Pause, RoundTrip, Pause, RoundTrip]
    both, *again = asks(steps)
    assert again == [again[0]] * 2
    assert both.endswith(again[0])
    failed, steps = play(appends.append_one(PLAIN, AppendOptions()), Replies([FULL]))
    assert isinstance(failed, Backpressure)
    assert "1000000 waiting updates" in str(failed)


@pytest.mark.parametrize(
    ("answers", "refused", "uncertain"),
    [
        (Replies([], REFUSED, sent=False), [1, 2, 3, 4], []),
        (Replies([], LOST), [], [1, 2, 3, 4]),
        (Replies([accepted(1, 2)], LOST), [], [2, 4]),
        (Replies([FULL], LOST), [1, 3], [2, 4]),
        (Replies([FULL, accepted(1, 2)]), [1, 3], []),
        (Replies([OutOfMemoryError("full", status_code="OOM"), FULL]), [1, 2, 3, 4], []),
        (Replies([], BusyLoadingError("loading", status_code="LOADING")), [1, 3], [2, 4]),
        (Replies([redis.ResponseError("MISCONF no disk")] * 2), [1, 2, 3, 4], []),
        (Replies([redis.ResponseError("ERR unexpected")] * 2), [], [1, 2, 3, 4]),
    ],
)
def test_partly_failed_chunk_accounts_for_each_update(
    appends: Appender, answers: Replies, refused: list[int], uncertain: list[int]
) -> None:
    updates = [OrderUpdate(order_id=key, total=1) for key in (1, 2, 3, 4)]
    tries = [answers] * (1 if answers.sent else 2)
    failed, _ = play(appends.append_chunk(UpdateChunk(updates), 1000, AppendOptions()), *tries)
    assert isinstance(failed, PartlyAccepted)
    assert failed.accepted == 1004 - len(refused) - len(uncertain)
    assert failed.refused == [updates[key - 1] for key in refused]
    assert failed.uncertain == [updates[key - 1] for key in uncertain]


def test_durable_append_and_waitaof_are_sent_together(appends: Appender) -> None:
    options = AppendOptions(durable=True)
    done, steps = play(
        appends.append_one(PLAIN, options),
        Replies([[1, 0]]),
        Replies([accepted(1, nudge=1)]),
        Replies([[1, 0]]),
    )
    assert done == "1-1"
    asked_before, append, nudge, confirm = steps
    assert isinstance(asked_before, RoundTrip)
    assert isinstance(append, RoundTrip)
    assert append.keep_connection
    assert append.commands.index(b"XADD") < append.commands.index(b"WAITAOF")
    assert nudge == NudgeEffect(1), "which does not wait for the disk"
    assert isinstance(confirm, RoundTrip)
    assert not confirm.commands
    done, steps = play(
        appends.append_one(PLAIN, options), Replies([accepted(2)]), Replies([[1, 0]])
    )
    assert (done, len(steps)) == ("1-2", 2), "a server is asked once whether it keeps a file"


@pytest.mark.parametrize(
    "said", [Replies([[0, 0]]), Replies([], LOST), Replies([redis.ResponseError("ERR no file")])]
)
def test_accepted_entries_not_on_disk_are_named(appends: Appender, said: Replies) -> None:
    options = AppendOptions(durable=True)
    kept = Replies([[1, 0]])
    failed, _ = play(appends.append_one(VERSIONED, options), kept, Replies([accepted(1)]), said)
    assert isinstance(failed, NotDurable)
    assert failed.entries == ["1-1"]
    updates = [OrderUpdate(order_id=key, total=1) for key in (1, 2, 3, 4)]
    failed, _ = play(
        appends.append_chunk(UpdateChunk(updates), 0, options),
        Replies([accepted(1, 2), FULL]),
        said,
    )
    assert isinstance(failed, PartlyAccepted)
    assert (failed.accepted, failed.refused) == (2, updates[1::2])
    assert isinstance(failed.__cause__, NotDurable)
    assert failed.__cause__.entries == ["1-1", "1-2"]


def test_entries_accepted_before_connection_loss_are_not_durable(
    appends: Appender,
) -> None:
    updates = [OrderUpdate(order_id=key, total=1) for key in (1, 2, 3, 4)]
    failed, _ = play(
        appends.append_chunk(UpdateChunk(updates), 0, AppendOptions(durable=True)),
        Replies([accepted(1, 2, nudge=1)], LOST),
    )
    assert isinstance(failed, PartlyAccepted)
    assert (failed.accepted, failed.uncertain) == (2, updates[1::2])
    assert isinstance(failed.__cause__, NotDurable)
    assert failed.__cause__.entries == ["1-1", "1-2"]


def test_durable_producer_checks_aof_before_taking_updates(
    appends: Appender,
) -> None:
    without = Replies([redis.ResponseError("ERR WAITAOF cannot be used")])
    failed, _ = play(appends.ensure_durable(AppendOptions(durable=True)), without)
    assert isinstance(failed, ConfigurationError)
    failed, _ = play(appends.ensure_durable(AppendOptions(durable=True)), Replies([], LOST))
    assert type(failed) is Unavailable
    assert play(appends.ensure_durable(AppendOptions())) == (None, [])


NO_LAYOUT_KEY = redis.ResponseError("LAYOUT none")


def test_shard_without_layout_gets_it_from_shard_0(appends: Appender) -> None:
    agreed = Replies([True, b"2"])
    done, steps = play(
        appends.append_one(PLAIN, AppendOptions()),
        Replies([NO_LAYOUT_KEY]),
        agreed,
        Replies([True]),
        Replies([accepted(1)]),
    )
    assert done == "1-1"
    sent = asks(steps)
    assert b"orders:layout:{0}" in sent[1]
    assert b"orders:layout:{1}" in sent[2]
    assert sent[0] == sent[3]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (Replies([None, b"4"]), ConfigurationError),
        (Replies([None, b"2>4"]), Backpressure),
        (Replies([redis.ResponseError("READONLY"), None]), Unavailable),
        (Replies([], REFUSED), Unavailable),
    ],
)
def test_update_is_refused_when_shard_0_layout_differs_or_is_missing(
    appends: Appender, said: Replies, error: type[OrderworksError]
) -> None:
    done, _steps = play(
        appends.append_chunk(UpdateChunk([VERSIONED], None), 1, AppendOptions()),
        Replies([NO_LAYOUT_KEY]),
        said,
    )
    assert isinstance(done, PartlyAccepted)
    assert isinstance(done.__cause__, error)
    assert (done.accepted, done.refused, done.uncertain) == (1, [VERSIONED], [])


def test_shard_still_without_layout_is_unavailable(appends: Appender) -> None:
    strange, agreed = Replies([NO_LAYOUT_KEY]), Replies([True, b"2"])
    done, _steps = play(
        appends.append_one(PLAIN, AppendOptions()),
        strange,
        agreed,
        Replies([REFUSED]),
        Replies([NO_LAYOUT_KEY]),
    )
    assert isinstance(done, Unavailable)


def test_restarted_server_gets_script_and_layout_before_the_update(appends: Appender) -> None:
    done, steps = play(
        appends.append_one(PLAIN, AppendOptions()),
        Replies([NoScriptError("No matching script.")]),
        Replies([NO_LAYOUT_KEY]),
        Replies([True, b"2"]),
        Replies([True]),
        Replies([accepted(1)]),
    )
    assert done == "1-1"
    by_hash, in_full, _first, _others, repeated = asks(steps)
    assert b"XADD" in in_full
    assert repeated == by_hash


def test_lost_reply_to_the_repetition_is_uncertain_and_not_sent_a_third_time(
    appends: Appender,
) -> None:
    done, _steps = play(
        appends.append_chunk(UpdateChunk([PLAIN], None), 0, AppendOptions()),
        Replies([NO_LAYOUT_KEY]),
        Replies([True, b"2"]),
        Replies([True]),
        Replies([], LOST),
    )
    assert isinstance(done, PartlyAccepted)
    assert (done.accepted, done.refused, done.uncertain) == (0, [], [PLAIN])
