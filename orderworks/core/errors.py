"""Every error that Orderworks raises on purpose, as one small tree.

OrderworksError
├── ConfigurationError      a setting is missing, wrong, or contradicts another
├── InvalidInput            what the caller handed over cannot be accepted; nothing was sent
│   ├── InvalidUpdate       an order update: names the field
│   └── InvalidFile         an import file: names the file and what is wrong with it
├── Unavailable             a server did not answer in time: names it
│   └── NotDurable          updates are accepted, but not confirmed to be on disk: names them
├── Backpressure            the stream of updates is at its limit; try again later
├── PartlyAccepted          `update_many` stopped part way: says how many were accepted
├── ImportNotFound          no import has that id
├── DeadUpdateNotFound      no dead update has that id
├── TokenNotFound           no token has that name
├── EntryNotFound           beat has no entry of that name
├── ReplayStopped           dead updates were replayed part way: says how many
├── ReshardStopped          the streams' layout was not changed: says what it waited for
├── RebuildStopped          the rollups are not compared to the end: says why
├── WrongState              the import is not in a state in which this can be done to it
├── ImportFailed            what was accepted cannot be loaded, now or later: says why
├── DataMissing             the spool, as this host sees it, lacks data; another host may see them
└── WaitTimeout             `wait()` of a job or a receipt gave up; the work itself goes on
"""

from collections.abc import Sequence


class OrderworksError(Exception):
    """Base of all errors that Orderworks raises on purpose."""


class ConfigurationError(OrderworksError):
    """A setting is missing, wrong, or contradicts another."""


class InvalidInput(OrderworksError):
    """What the caller handed over cannot be accepted. Nothing was sent."""


class InvalidUpdate(InvalidInput):
    """An order update is not valid.

    Attributes:
        field: the name of the field at fault.
        problem: what is wrong with it.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class InvalidFile(InvalidInput):
    """An import file cannot be accepted as a whole."""


class Unavailable(OrderworksError):
    """A server that is needed did not answer in time."""


class NotDurable(Unavailable):
    """Updates are accepted, but the server did not confirm in time that it has them on disk.

    They are applied like others, unless the server loses them in a crash before its next fsync.

    Attributes:
        entries: the entry ids of these updates.
    """

    def __init__(self, entries: Sequence[str], problem: str) -> None:
        super().__init__(
            f"{len(entries)} updates are accepted, but not on disk for sure: {problem}"
        )
        self.entries = list(entries)


class Backpressure(OrderworksError):
    """The stream of accepted updates is at its limit; the workers have to catch up first."""


class PartlyAccepted(OrderworksError):
    """`update_many` stopped part way; the cause is chained.

    What the iterable had not yielded yet is left in it.

    Attributes:
        accepted: how many updates are certainly accepted.
        refused: the updates taken from the iterable that are certainly not accepted, in order.
        uncertain: those that were sent and whose answer was lost, in order.
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
    """A replay of dead updates ended before its time; doing it again goes on with the rest.

    Attributes:
        replayed: how many were handed over and marked.
        left: how many were not.
        cause: the failure.
    """

    def __init__(self, replayed: int, left: int, cause: Exception) -> None:
        super().__init__(f"{replayed} dead updates were replayed and {left} were not: {cause}")
        self.replayed = replayed
        self.left = left
        self.cause = cause


class ReshardStopped(OrderworksError):
    """The layout of the streams is as it was: it cannot be changed now, or not in the time given."""


class RebuildStopped(OrderworksError):
    """The rollups are not compared with the orders to the end; what was mended until then stays so."""


class WrongState(OrderworksError):
    """The import is not in a state in which this can be done to it."""


class ImportFailed(OrderworksError):
    """An accepted import, or a chunk of one, cannot be loaded, and trying again would not help."""


class DataMissing(OrderworksError):
    """The spool, as this host sees it, lacks data that were accepted; another host may see them."""


class WaitTimeout(OrderworksError):
    """Waiting gave up before the end of the job, or before the verdict; the work itself goes on."""
