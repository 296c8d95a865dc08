"""Receipts, which `track=True` returns, to wait for the verdict on an update."""

from collections.abc import Awaitable, Callable

from orderworks.core.effects import Pause
from orderworks.core.errors import OrderworksError, WaitTimeout
from orderworks.core.keys import update_verdict
from orderworks.core.redis import pack_command
from orderworks.updates.messages import UpdateOutcome, Verdict
from producer.effects import ProducerSteps, Replies, RoundTrip, pauses

POLL_TIMEOUT = 1.0
"""Seconds to wait for a reply; without one, the next poll repeats the command."""


class _TrackedUpdate:
    """A tracked update, with its verdict as far as it is known.

    Attributes:
        entry: its entry id.
        reason: why the update is dead; empty for other verdicts, and before `wait` has returned one.
    """

    def __init__(self, entry: str, shard: int) -> None:
        self.entry = entry
        self.reason = ""
        self._key = update_verdict(shard, entry)
        self._verdict: Verdict | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.entry!r})"

    def _poll(self) -> ProducerSteps[None]:
        """Read the outcome, if it is published and the server replies."""
        replies: Replies = yield RoundTrip(pack_command("GET", self._key), 1, POLL_TIMEOUT)
        if replies.received and isinstance(replies.received[0], bytes):
            outcome = self._decoded(replies.received[0])
            if outcome.verdict.is_final:
                self._verdict, self.reason = outcome.verdict, outcome.reason

    def _decoded(self, document: bytes) -> UpdateOutcome:
        try:
            return UpdateOutcome.decode(document)
        except ValueError as error:
            raise OrderworksError(
                f"the verdict of update {self.entry} cannot be read: the value of {self._key} in Redis "
                f"is damaged ({error}); the update itself was processed as any other"
            ) from None

    def _wait(self, timeout: float | None) -> ProducerSteps[Verdict]:
        waits = pauses(timeout)
        while self._verdict is None:
            yield from self._poll()
            if self._verdict is None:
                pause = next(waits, None)
                if pause is None:
                    raise WaitTimeout(f"update {self.entry} has no verdict after {timeout:g} s")
                yield Pause(pause)
        return self._verdict


class Receipt(_TrackedUpdate):
    """The receipt of an accepted update, to wait for its verdict.

    The workers apply the update in any case. `entry` is its entry id, and `reason`, after `wait`, why it
    is dead.
    """

    def __init__(
        self, entry: str, shard: int, carry_out: Callable[[ProducerSteps[Verdict]], Verdict]
    ) -> None:
        super().__init__(entry, shard)
        self._run = carry_out

    def wait(self, timeout: float | None = None) -> Verdict:
        """Wait until the workers have given the update its final verdict; return it.

        A verdict is available for `VERDICT_TTL` seconds after it was given; this receipt keeps it once
        it is read. If Redis does not reply, the wait continues.

        Args:
            timeout: seconds to wait; None for no limit.

        Raises:
            WaitTimeout: there is no verdict yet. The update is still pending, and may be waited for
                again.
            OrderworksError: what Redis has in place of the verdict is damaged.
        """
        return self._run(self._wait(timeout))


class AsyncReceipt(_TrackedUpdate):
    """The receipt of an update that an `AsyncProducer` has accepted; as `Receipt`."""

    def __init__(
        self,
        entry: str,
        shard: int,
        carry_out: Callable[[ProducerSteps[Verdict]], Awaitable[Verdict]],
    ) -> None:
        super().__init__(entry, shard)
        self._run = carry_out

    async def wait(self, timeout: float | None = None) -> Verdict:  # noqa: ASYNC109 - as Receipt has it
        """Wait for the final verdict; return it. Parameters and errors are those of `Receipt.wait`."""
        return await self._run(self._wait(timeout))
