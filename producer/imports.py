"""Import files: accept one, and wait for what becomes of it."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, get_args

import redis

from orders.errors import InvalidInput, Unavailable, WaitTimeout
from orders.imports.columns import Kind, match_columns
from orders.imports.progress import Summary, accepted_summary, mirror, read_progress
from orders.imports.source import ImportSource, OpenSource, check_delimiter, open_source
from orders.imports.spool import Manifest, Spool
from orders.redis import Redis, redis_unavailable
from orders.stream import SEQUENCE_BITS

Source = ImportSource

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two looks at an import's progress: the first pause, and what they grow to."""

FINISHED = ("done", "failed")

EPOCH = datetime.fromtimestamp(0, UTC)


def accept_import(
    source: Source,
    *,
    kind: str,
    mapping: Mapping[str, str],
    delimiter: str,
    spool: Spool,
    stream: Redis,
) -> str:
    """Put a file into the spool, complete and checked; the import's id.

    The import's place in the order of all writes is Redis' clock when the whole file is there.

    Raises:
        InvalidInput: the file as a whole, or what is said about it, cannot be accepted.
        Unavailable: the spool or Redis did not answer. Nothing is imported.
    """
    known_kind, delimiter = _checked_kind(kind), check_delimiter(delimiter)
    import_id = _new_id(_server_time(stream))
    with open_source(source, delimiter) as opened:
        matched = match_columns(opened.name, known_kind, opened.header, mapping)
        uploaded = spool.upload(import_id, opened.blocks)
    try:
        accepted = Accepted(import_id, known_kind, matched, delimiter, _server_time(stream))
        manifest = make_manifest(accepted, opened, uploaded)
        spool.announce(manifest)
    except Unavailable:
        with suppress(Unavailable):
            spool.delete_data(import_id)
        raise
    # It is accepted; that it cannot be seen yet is no reason to say otherwise.
    with suppress(redis.RedisError):
        mirror(stream, accepted_summary(manifest))
    return import_id


class Accepted(NamedTuple):
    """What is decided about an import when it is accepted."""

    id: str
    kind: Kind
    mapping: dict[str, str]
    delimiter: str
    at: datetime


def make_manifest(accepted: Accepted, opened: OpenSource, uploaded: tuple[int, str]) -> Manifest:
    """The manifest of what was uploaded, of which `uploaded` is the size and the SHA-256."""
    size, sha256 = uploaded
    milliseconds = (accepted.at - EPOCH) // timedelta(milliseconds=1)
    return Manifest(
        id=accepted.id,
        kind=accepted.kind,
        source=opened.name,
        mapping=accepted.mapping,
        delimiter=accepted.delimiter,
        header=list(opened.header),
        data_start=opened.data_start,
        data_line=opened.data_line,
        bytes=size,
        sha256=sha256,
        version=milliseconds << SEQUENCE_BITS,
        accepted_at=accepted.at,
    )


class ImportJob:
    """An accepted import. It goes on whether or not anybody waits for it."""

    def __init__(self, import_id: str, stream: Redis) -> None:
        self.id = import_id
        self._stream = stream

    def __repr__(self) -> str:
        return f"ImportJob({self.id!r})"

    def progress(self) -> Summary | None:
        """How far it is: `status`, `rows`, `applied` and so on; None if nothing is known of it.

        Raises:
            Unavailable: Redis did not answer.
        """
        try:
            return read_progress(self._stream, self.id)
        except redis.RedisError as error:
            raise redis_unavailable(error) from error

    def wait(
        self, timeout: float | None = None, on_progress: Callable[[Summary], None] | None = None
    ) -> Summary:
        """Wait until it ended; its last summary, of which `status` is `done` or `failed`.

        `timeout` is in seconds; `on_progress` is called with every summary that differs from the
        one before. While Redis does not answer, it waits on.

        Raises:
            WaitTimeout: it has not ended in that time; it goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        last: Summary | None = None
        for pause in _pauses():
            with suppress(Unavailable):
                summary = self.progress()
                if on_progress and summary and summary != last:
                    on_progress(summary)
                last = summary or last
            if last and last["status"] in FINISHED:
                return last
            self._pause(pause, deadline, timeout)
        raise AssertionError("unreachable")

    def _pause(self, seconds: float, deadline: float | None, timeout: float | None) -> None:
        left = seconds if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise WaitTimeout(f"import {self.id} has not ended in {timeout:g} s; it goes on")
        time.sleep(min(seconds, left))


def _checked_kind(kind: str) -> Kind:
    kinds: tuple[Kind, ...] = get_args(Kind)
    for known in kinds:
        if kind == known:
            return known
    raise InvalidInput(f"'{kind}' is nothing to import: there are {' and '.join(kinds)}")


def _new_id(now: datetime) -> str:
    """Sorts by time, and can be typed."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def _server_time(stream: Redis) -> datetime:
    """The time by the clock that also orders updates."""
    try:
        seconds, microseconds = stream.time()
    except redis.RedisError as error:
        raise redis_unavailable(error) from error
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 1.5, LONGEST_PAUSE)
