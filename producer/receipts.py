"""Receipts: what `track=True` gives, to wait for what became of an update."""

from collections.abc import Awaitable, Callable

from orderworks.core.effects import Pause
from orderworks.core.errors import WaitTimeout
from orderworks.core.keys import update_verdict
from orderworks.core.redis import pack_command
from orderworks.updates.messages import UpdateOutcome, Verdict
from producer.effects import ProducerSteps, Replies, RoundTrip, pauses

POLL_TIMEOUT = 1.0
"""Seconds to wait for an answer; without one, the next look asks anew."""


class _TrackedUpdate:
    """A tracked update, and what is known of it.

    Attributes:
        entry: its entry id.
        reason: why it is dead; empty as long as that is not known.
    """

    def __init__(self, entry: str, shard: int) -> None:
        self.entry = entry
        self.reason = ""
        self._key = update_verdict(shard, entry)
        self._verdict: Verdict | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.entry!r})"

    def _poll(self) -> ProducerSteps[None]:
        """Ask for the outcome; nothing comes of it while there is none or no answer."""
        answers: Replies = yield RoundTrip(pack_command("GET", self._key), 1, POLL_TIMEOUT)
        if answers.received and isinstance(answers.received[0], bytes):
            outcome = UpdateOutcome.decode(answers.received[0])
            if outcome.verdict.is_final:
                self._verdict, self.reason = outcome.verdict, outcome.reason

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
    """The receipt for an accepted update. The update goes on whether or not anybody waits."""

    def __init__(
        self, entry: str, shard: int, carry_out: Callable[[ProducerSteps[Verdict]], Verdict]
    ) -> None:
        super().__init__(entry, shard)
        self._run = carry_out

    def wait(self, timeout: float | None = None) -> Verdict:
        """Wait until the workers have settled the update; the verdict, which is final.

        `timeout` is in seconds. While Redis does not answer, it waits on. A verdict can be asked for
        until `VERDICT_TTL` after it was given; once it was seen here, for ever.

        Raises:
            WaitTimeout: there is no verdict by then; the update goes on.
        """
        return self._run(self._wait(timeout))


class AsyncReceipt(_TrackedUpdate):
    """The same from an `AsyncProducer`."""

    def __init__(
        self,
        entry: str,
        shard: int,
        carry_out: Callable[[ProducerSteps[Verdict]], Awaitable[Verdict]],
    ) -> None:
        super().__init__(entry, shard)
        self._run = carry_out

    async def wait(self, timeout: float | None = None) -> Verdict:  # noqa: ASYNC109 - as Receipt has it
        """Wait until the workers have settled the update. As `Receipt.wait`, errors included."""
        return await self._run(self._wait(timeout))
