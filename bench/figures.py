"""The results of one benchmark as data: what `report` prints and `plot` draws."""

from collections.abc import Sequence

import msgspec

from bench.alternate import NotRun, Result


class Peak(msgspec.Struct, frozen=True):
    """The most memory that a process had, in bytes, in an import of so many rows."""

    process: str
    rows: int
    peak: int


class Latency(msgspec.Struct, frozen=True):
    """One side at one rate: medians over the rounds, in milliseconds.

    Attributes:
        reached: updates a second that were committed.
        fell_behind: in so many of the rounds.
    """

    name: str
    rate: int
    rounds: int
    p50: float
    p99: float
    reached: float
    fell_behind: int

    @property
    def kept_up(self) -> bool:
        """Whether it did not fall behind in most rounds; the percentiles mean something then."""
        return self.fell_behind * 2 <= self.rounds


class QueryCount(msgspec.Struct, frozen=True):
    """Queries that reached PostgreSQL of so many reads: in each round, and the median."""

    name: str
    reads: int
    rounds: list[int]
    queries: int


class Figures(msgspec.Struct, frozen=True):
    """What one benchmark found, and what a reader has to know about the run."""

    benchmark: str
    results: Sequence[Result | NotRun | Peak | Latency | QueryCount]
    notes: list[str]
