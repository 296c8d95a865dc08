"""Notes on the file of an import: ignored columns, repeated ids, a last line without an end.

The columns follow from the manifest. The notes that only the rows show are stored in Redis, as long as
the progress of the import.
"""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import redis

from orderworks.core.keys import import_notes
from orderworks.core.redis import Redis
from orderworks.imports.columns import ImportKind, ignored_columns, likely_columns

NOTES_TTL = 7 * 24 * 3600

NO_LINE_END = "the last line has no end of line; it was read as the others"

_UNENDED, _REPEATED = "unended", "repeated:"
"""The fields of the hash: of the file; of a chunk, with its number."""


class RepeatedIds(NamedTuple):
    """Ids on several lines with other values, in rows without a version of their own.

    Attributes:
        ids: their number.
        id: the first of them.
        lines: two lines of that one.
    """

    ids: int
    id: int
    lines: tuple[int, int]


def describe_columns(
    kind: ImportKind, header: Sequence[str], mapping: Mapping[str, str], parent: str | None
) -> dict[str, Any]:
    """The members of a summary that describe the file: `ignored_columns`, `notes` and `repeated_ids`.

    A sheet of corrected rejects has columns of its own, which are not listed.
    """
    ignored = [] if parent else ignored_columns(header, mapping)
    notes = [
        f"the column '{column}' is ignored; if it is '{target}', give --map "
        f"{target}={shlex.quote(column)}"
        for target, column in likely_columns(kind, ignored, mapping).items()
    ]
    return {"ignored_columns": ignored, "notes": notes, "repeated_ids": None}


def sum_repeated(found: Sequence[RepeatedIds]) -> RepeatedIds | None:
    """The repeated ids of several parts of a file, whose first one has the example."""
    if not found:
        return None
    return found[0]._replace(ids=sum(each.ids for each in found))


def with_repeated(summary: dict[str, Any], repeated: RepeatedIds | None) -> dict[str, Any]:
    """The summary with the repeated ids, as a member and as a note."""
    if repeated is None:
        return summary
    first, second = repeated.lines
    note = (
        f"{repeated.ids:,} ids are on several lines with other values, such as {repeated.id} on lines "
        f"{first} and {second}: the last line counts"
    )
    return {**_with_note(summary, note), "repeated_ids": repeated._asdict()}


def with_notes(stream: Redis, summary: dict[str, Any]) -> dict[str, Any]:
    """The summary with what workers have noted of the rows. Without Redis there are no notes."""
    found: Any = {}
    with suppress(redis.RedisError):
        found = stream.hgetall(import_notes(summary["id"]))
    chunks = [
        (int(name.removeprefix(_REPEATED.encode())), msgspec.json.decode(value, type=RepeatedIds))
        for name, value in found.items()
        if name.startswith(_REPEATED.encode())
    ]
    if _UNENDED.encode() in found:
        summary = _with_note(summary, NO_LINE_END)
    return with_repeated(summary, sum_repeated([repeated for _number, repeated in sorted(chunks)]))


def _with_note(summary: dict[str, Any], note: str) -> dict[str, Any]:
    return {**summary, "notes": list(dict.fromkeys([*summary["notes"], note]))}


def note_missing_line_end(stream: Redis, import_id: str) -> None:
    """Note that the file does not end with a line end."""
    _note(stream, import_id, _UNENDED, b"1")


def note_repeated(stream: Redis, import_id: str, chunk: int, repeated: RepeatedIds) -> None:
    """Note the repeated ids of a chunk; once, if it is loaded twice."""
    _note(stream, import_id, f"{_REPEATED}{chunk}", msgspec.json.encode(repeated))


def _note(stream: Redis, import_id: str, name: str, value: bytes) -> None:
    key = import_notes(import_id)
    with suppress(redis.RedisError), stream.pipeline() as pipe:
        pipe.hset(key, name, value)
        pipe.expire(key, NOTES_TTL)
        pipe.execute()
