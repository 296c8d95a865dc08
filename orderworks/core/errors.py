"""Every error that Orderworks raises on purpose, as one small tree.

OrderworksError
├── ConfigurationError      a setting is missing, wrong, or contradicts another
├── InvalidInput            an argument cannot be accepted; nothing was sent
│   ├── InvalidUpdate       an order update: names the field
│   └── InvalidFile         an import file: names the file and what is wrong with it
├── Unavailable             a server did not respond in time: names it
│   └── NotDurable          updates are accepted, but not confirmed to be on disk: names them
├── Backpressure            the stream of updates is at its limit; try again later
├── PartlyAccepted          `update_many` stopped part way: has the number of accepted updates
├── ImportNotFound          no import has that id
├── DeadUpdateNotFound      no dead update has that id
├── TokenNotFound           no token has that name
├── EntryNotFound           beat has no entry of that name
├── ReplayStopped           dead updates were replayed part way: has the number
├── ReshardStopped          the streams' layout was not changed: names what it waited for
├── RebuildStopped          the rollups were not compared to the end: names the reason
├── WrongState              the import's state does not allow the operation
├── ImportFailed            an accepted import cannot be loaded, and a retry would not help
├── DataMissing             the spool, as this host sees it, lacks data; another host may see them
└── WaitTimeout             `wait()` of a job or a receipt timed out; the work itself continues
"""

from collections.abc import Sequence


class OrderworksError(Exception):
    """Base of all errors that Orderworks raises on purpose."""


class ConfigurationError(OrderworksError):
    """A setting is missing, wrong, or contradicts another."""


class InvalidInput(OrderworksError):
    """An argument cannot be accepted. Nothing was sent."""


class InvalidUpdate(InvalidInput):
    """An order update is not valid.

    Attributes:
        field: the name of the invalid field.
        problem: what is wrong with it.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class InvalidFile(InvalidInput):
    """An import file cannot be accepted as a whole."""


class Unavailable(OrderworksError):
    """A server did not respond in time, or refused the connection; the message names it."""


class NotDurable(Unavailable):
    """Updates are accepted, but the server did not confirm in time that it has them on disk.

    They are applied like others, unless the server crashes before its next fsync and loses them. Do not
    send them again, unless each has its own version.

    Attributes:
        entries: the entry ids of these updates.
    """

    def __init__(self, entries: Sequence[str], problem: str) -> None:
        super().__init__(f"{len(entries)} updates are accepted, but may not be on disk: {problem}")
        self.entries = list(entries)


class Backpressure(OrderworksError):
    """The stream of updates is at its limit, or its layout is being changed. Try again later."""


class PartlyAccepted(OrderworksError):
    """`update_many` stopped part way. `__cause__` is the error that stopped it.

    The iterable still has the updates that it had not yielded.

    Attributes:
        accepted: number of updates that are certainly accepted.
        refused: the updates taken from the iterable that are certainly not accepted, in order.
        uncertain: the updates that were sent and may or may not be accepted, in order.
    """

    def __init__(
        self,
        accepted: int,
        refused: Sequence[object],
        uncertain: Sequence[object],
        cause: Exception,
    ) -> None:
        lost = f", {len(uncertain)} are uncertain" if uncertain else ""
        super().__init__(f"{accepted} updates were accepted{lost}, then: {cause}")
        self.accepted = accepted
        self.refused = list(refused)
        self.uncertain = list(uncertain)


class ImportNotFound(OrderworksError):
    """No import has that id."""


class DeadUpdateNotFound(OrderworksError):
    """No dead update has that id."""

    def __init__(self, ids: Sequence[int]) -> None:
        named = ", ".join(map(str, ids))
        super().__init__(f"no dead update has the id {named}; `orderworks dead` lists them")


class TokenNotFound(OrderworksError):
    """No token has that name."""


class EntryNotFound(OrderworksError):
    """Beat has no entry of that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        has = ", ".join(known) or "none yet: is `celery -A worker beat` running?"
        super().__init__(f"beat has no entry {name!r}; it has {has}")


class ReplayStopped(OrderworksError):
    """A replay of dead updates stopped part way; repeating it continues with the rest.

    Attributes:
        replayed: number of updates that were appended again and marked.
        left: number of updates that were not.
        cause: the failure.
    """

    def __init__(self, replayed: int, left: int, cause: Exception) -> None:
        super().__init__(f"{replayed} dead updates were replayed and {left} were not: {cause}")
        self.replayed = replayed
        self.left = left
        self.cause = cause


class ReshardStopped(OrderworksError):
    """The layout of the streams is unchanged: another change is running, or the time was too short."""


class RebuildStopped(OrderworksError):
    """The rollups were not compared with the orders to the end; earlier corrections stay."""


class WrongState(OrderworksError):
    """The import's state does not allow the operation."""


class ImportFailed(OrderworksError):
    """An accepted import, or a chunk of one, cannot be loaded, and a retry would not help."""


class DataMissing(OrderworksError):
    """The spool, as this host sees it, lacks data that were accepted; another host may see them."""


class WaitTimeout(OrderworksError):
    """`wait()` timed out before the job ended or the verdict was given; the work itself continues."""
