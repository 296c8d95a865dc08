"""A shard's share of what is appended: the command that asks for it, and what became of it.

No I/O here: answers come in as the server gave them.
"""

from collections.abc import Sequence

import redis
from redis.exceptions import NoScriptError

from orderworks.core.errors import Backpressure, OrderworksError
from orderworks.core.redis import pack_command, redis_unavailable
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.shard_layout import ShardLayout
from orderworks.updates.stream import (
    APPEND,
    APPEND_HASH,
    NO_LAYOUT,
    Appended,
    AppendTarget,
    append_call,
    is_layout_missing,
    read_appended,
    refusal_error,
)
from producer.effects import Replies

REFUSED_BEFORE_WRITE = frozenset(
    ("BUSY", "LOADING", "MASTERDOWN", "MISCONF", "NOAUTH", "NOREPLICAS", "OOM", "READONLY")
)
"""Codes of errors that the server gives before a script has written anything. After others, such as a
refused right, the script may have got as far as the append."""


class ShardBatch:
    """Updates of one shard that are appended together, all or none.

    Attributes:
        appended: what the server said when it accepted them.
        failure: why they are not accepted, or not for sure.
        unsaved: why they are accepted but not known to be on disk; empty if nobody wants that.
        uncertain: they were sent, and whether they are accepted is not known.
        needs_script: the server does not know the script by its hash, so it did nothing.
        needs_layout: the shard has no word of the layout, so the script did nothing.
    """

    __slots__ = (
        "_call",
        "appended",
        "durability_error",
        "failure",
        "needs_layout",
        "needs_script",
        "target",
        "uncertain",
        "updates",
    )

    def __init__(
        self, target: AppendTarget, updates: Sequence[OrderUpdate], *, tracked: bool
    ) -> None:
        payloads = [update.encode() for update in updates]
        keys, arguments = append_call(target, payloads, tracked=tracked)
        self.target = target
        self.updates = updates
        self.appended: Appended | None = None
        self.failure: OrderworksError | None = None
        self.durability_error = ""
        self.uncertain = False
        self.needs_script = False
        self.needs_layout = False
        self._call = (len(keys), *keys, *arguments)

    def evalsha_command(self) -> bytes:
        """The command, for a server that ran the script before."""
        return pack_command("EVALSHA", APPEND_HASH, *self._call)

    def eval_command(self) -> bytes:
        """The command, for any server."""
        return pack_command("EVAL", APPEND, *self._call)

    @property
    def shard(self) -> int:
        """The shard of the updates."""
        return self.target.shard

    @property
    def ids(self) -> list[str]:
        """Their entry ids, if they are accepted."""
        return self.appended.ids if self.appended else []

    @property
    def is_shard_full(self) -> bool:
        """Whether the shard is full, and has certainly not taken them."""
        return not self.uncertain and isinstance(self.failure, Backpressure)

    @property
    def is_safe_to_repeat(self) -> bool:
        """Whether they may be sent again although they may have been accepted.

        Only if each has its own version: what is accepted twice has no effect the second time then,
        and cannot overtake what was accepted in between.
        """
        return self.uncertain and all(update.version is not None for update in self.updates)

    def receive(self, answers: Replies, number: int) -> None:
        """Note the answer to the command with this number, or that there is none."""
        if number < len(answers.received):
            self._receive_answer(answers.received[number])
        elif answers.error:
            # The client raises some errors of the server's as the loss of the connection.
            refused = number == len(answers.received) and _is_refusal(answers.error)
            self._fail(answers.error, uncertain=answers.sent and not refused)

    def fail_layout(self, reply: object) -> None:
        """Note that the layout is another one, as shard 0 says, or that it says nothing."""
        if isinstance(reply, bytes):
            self.failure = ShardLayout.decode(reply).mismatch_error(self.target.shards)
        else:
            lost = reply if isinstance(reply, redis.RedisError) else redis.ResponseError(NO_LAYOUT)
            self.failure = redis_unavailable(lost)
        self.needs_layout = False

    def require_layout(self) -> None:
        """Note a failure if the shard still has no word of the layout."""
        if self.needs_layout:
            self.fail_layout(None)

    def confirm_durable(self, answers: Replies) -> None:
        """Note what the server said of its disk, if these updates are accepted."""
        said = answers.received[0] if answers.received else answers.error
        if self.appended and not (isinstance(said, list) and said[0]):
            self.durability_error = "no fsync in time" if isinstance(said, list) else str(said)

    def _receive_answer(self, answer: object) -> None:
        self.needs_script = isinstance(answer, NoScriptError)
        self.needs_layout = isinstance(answer, redis.RedisError) and is_layout_missing(answer)
        if not isinstance(answer, redis.RedisError):
            self.appended = read_appended(answer)
            self.failure, self.uncertain = None, False
        elif not self.needs_script and not self.needs_layout:
            self._fail(answer, uncertain=not _is_refusal(answer))

    def _fail(self, error: redis.RedisError, *, uncertain: bool) -> None:
        """Note a failure, unless the updates are uncertain: a later one says nothing of the first."""
        if not self.uncertain:
            refusal = refusal_error(error, self.target)
            self.failure = refusal or redis_unavailable(error)
            self.failure.__cause__ = None if refusal else error
            self.uncertain = uncertain and refusal is None


def _is_refusal(error: redis.RedisError) -> bool:
    """Whether the server says that it has not even begun."""
    code = error.status_code or str(error).partition(" ")[0]
    return code in REFUSED_BEFORE_WRITE
