"""The results of one benchmark as data, which `report` prints and `plot` draws."""

from collections.abc import Sequence

import msgspec

from bench.alternate import NotRun, Result


class Peak(msgspec.Struct, frozen=True):
    """The peak memory of a process, in bytes, in an import of `rows` rows."""

    process: str
    rows: int
    peak: int


class Latency(msgspec.Struct, frozen=True):
    """One side at one rate: medians over the rounds, in milliseconds.

    Attributes:
        reached: updates committed per second.
        fell_behind: number of rounds in which the side did not keep up with the rate.
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
        """Return whether it kept up in at least half of the rounds; else percentiles mean nothing."""
        return self.fell_behind * 2 <= self.rounds


class QueryCount(msgspec.Struct, frozen=True):
    """The number of queries that reached PostgreSQL: by round, and the median."""

    name: str
    reads: int
    rounds: list[int]
    queries: int


class Figures(msgspec.Struct, frozen=True):
    """The results of one benchmark, with notes on the run."""

    benchmark: str
    results: Sequence[Result | NotRun | Peak | Latency | QueryCount]
    notes: list[str]
