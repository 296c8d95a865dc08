"""Every error that Orderworks raises on purpose, as one small tree.

OrderworksError
├── ConfigurationError      a setting is missing, wrong, or contradicts another
├── InvalidInput            what the caller handed over cannot be accepted; nothing was sent
│   ├── InvalidUpdate       an order update: names the field
│   └── InvalidFile         an import file: names the file and what is wrong with it
├── Unavailable             a server did not answer in time: names it
├── Backpressure            the stream of updates is at its limit; try again later
├── PartlyAccepted          `update_many` stopped part way: says how many were accepted
├── ImportNotFound          no import has that id
└── WaitTimeout             `job.wait()` gave up; the import itself goes on
"""


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
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class InvalidFile(InvalidInput):
    """An import file cannot be accepted as a whole."""


class Unavailable(OrderworksError):
    """A server that is needed did not answer in time."""


class Backpressure(OrderworksError):
    """The stream of accepted updates is at its limit; the workers have to catch up first."""


class PartlyAccepted(OrderworksError):
    """`update_many` stopped part way.

    Attributes:
        accepted: how many updates, counted from the first, are certainly accepted.
        uncertain: how many right after them may have been accepted too: they were sent, and the
            answer was lost. Zero when the server refused.
    """

    def __init__(self, accepted: int, uncertain: int, cause: Exception) -> None:
        doubt = f"; of the next {uncertain} the answer was lost" if uncertain else ""
        super().__init__(f"{accepted} updates were accepted{doubt}: {cause}")
        self.accepted = accepted
        self.uncertain = uncertain


class ImportNotFound(OrderworksError):
    """No import has that id."""


class WaitTimeout(OrderworksError):
    """Waiting gave up before the job ended; the job itself goes on."""
