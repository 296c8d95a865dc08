"""The updates of a call that go to one shard: the command that appends them, and its outcome.

No I/O happens here: the caller passes in the server's replies.
"""

from collections.abc import Sequence

import redis
from redis.exceptions import NoScriptError

from orderworks.core.errors import Backpressure, OrderworksError
from orderworks.core.redis import pack_command, redis_unavailable
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import (
    APPEND,
    APPEND_HASH,
    Appended,
    AppendTarget,
    append_call,
    is_layout_missing,
    read_appended,
    refusal_error,
)
from producer.effects import Replies

OF_CLUSTERS = frozenset(("ASK", "CLUSTERDOWN", "CROSSSLOT", "MOVED"))

REFUSED_BEFORE_WRITE = OF_CLUSTERS | frozenset(
    ("BUSY", "LOADING", "MASTERDOWN", "MISCONF", "NOAUTH", "NOREPLICAS", "OOM", "READONLY")
)
"""Codes of errors that the server returns before a script has written anything. With other errors, such
as a missing permission, the script may have appended already."""


class ShardBatch:
    """Updates of one shard that are appended together, all or none.

    Attributes:
        appended: their entry ids, once they are accepted.
        failure: why they are not accepted, or may not be.
        durability_error: why they are accepted but may not be on disk; empty unless `durable` was
            requested.
        uncertain: they were sent, and whether they are accepted is not known.
        needs_script: the last command was refused because the server does not know the script.
        needs_layout: the last command was refused because the shard has no layout key.
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
        """Return the command for a server that knows the script."""
        return pack_command("EVALSHA", APPEND_HASH, *self._call)

    def eval_command(self) -> bytes:
        """Return the command for any server."""
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
        """True if the shard is full or its layout changes, and none of the updates was accepted."""
        return not self.uncertain and isinstance(self.failure, Backpressure)

    @property
    def is_safe_to_repeat(self) -> bool:
        """True if they may or may not be accepted, and may be sent again.

        That is so only if each has its own version: the second of two equal entries then has no effect,
        and cannot override an update that was accepted in between.
        """
        return self.uncertain and all(update.version is not None for update in self.updates)

    def receive(self, replies: Replies, index: int) -> None:
        """Record the reply to the command at this index, or its loss."""
        self.needs_script = self.needs_layout = False
        if index < len(replies.received):
            self._receive_reply(replies.received[index])
        elif replies.error:
            # The client raises some error replies of the server as the loss of the connection.
            refused = index == len(replies.received) and _is_refused_before_write(replies.error)
            self._fail(replies.error, uncertain=replies.sent and not refused)

    def fail_layout(self, failure: OrderworksError) -> None:
        """Record why the layout does not allow the append, which the server has refused."""
        if not self.uncertain:
            self.failure = failure

    def confirm_durable(self, replies: Replies) -> None:
        """Record the reply to WAITAOF, if these updates are accepted."""
        reply = replies.received[0] if replies.received else replies.error
        if self.appended and not (isinstance(reply, list) and reply[0]):
            self.durability_error = "no fsync in time" if isinstance(reply, list) else str(reply)

    def _receive_reply(self, reply: object) -> None:
        if not isinstance(reply, redis.RedisError):
            self.appended = read_appended(reply)
            self.failure, self.uncertain = None, False
            return
        self.needs_script = isinstance(reply, NoScriptError)
        self.needs_layout = is_layout_missing(reply)
        refused = self.needs_script or self.needs_layout or _is_refused_before_write(reply)
        self._fail(reply, uncertain=not refused)

    def _fail(self, error: redis.RedisError, *, uncertain: bool) -> None:
        """Record a failure, unless the updates are uncertain: they stay so if the repetition fails."""
        if not self.uncertain:
            refusal = refusal_error(error, self.target)
            self.failure = refusal or redis_unavailable(error)
            self.failure.__cause__ = None if refusal else error
            self.uncertain = uncertain and refusal is None


def _is_refused_before_write(error: redis.RedisError) -> bool:
    """Return whether the server has certainly not run the command."""
    code = error.status_code or str(error).partition(" ")[0]
    return code in REFUSED_BEFORE_WRITE
