"""Notes on the file of an import: ignored columns, repeated ids, a last line without an end.

The columns follow from the manifest. The notes that only the rows show are stored in Redis, as long as
the progress of the import.
"""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import msgspec
import redis

from orderworks.core.keys import import_notes
from orderworks.core.redis import Redis
from orderworks.imports.columns import ImportKind, ignored_columns, likely_columns

Note = TypeVar("Note")

NOTES_TTL = 7 * 24 * 3600

NO_LINE_END = "the last line has no end of line; it was read as the others"

_UNENDED, _REPEATED, _MIXED = "unended", "repeated:", "mixed:"
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


class MixedVersions(NamedTuple):
    """Rows with counters as versions, where the table has versions by the order of acceptance.

    Attributes:
        rows: their number.
        id: of one of them.
    """

    rows: int
    id: int


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


def sum_mixed(found: Sequence[MixedVersions]) -> MixedVersions | None:
    """The mixed versions of several parts of a file."""
    if not found:
        return None
    return found[0]._replace(rows=sum(each.rows for each in found))


def with_mixed(summary: dict[str, Any], mixed: MixedVersions | None) -> dict[str, Any]:
    """The summary with a note on mixed versions."""
    if mixed is None:
        return summary
    note = (
        f"{mixed.rows:,} rows, such as that of {mixed.id}, have counters as versions, and the table has "
        "versions by the order of acceptance, which are always higher: they change no field that has "
        "one. Give moments (--map version=updated_at), or no versions"
    )
    return _with_note(summary, note)


def with_notes(stream: Redis, summary: dict[str, Any]) -> dict[str, Any]:
    """The summary with what workers have noted of the rows. Without Redis there are no notes."""
    found: Any = {}
    with suppress(redis.RedisError):
        found = stream.hgetall(import_notes(summary["id"]))
    if _UNENDED.encode() in found:
        summary = _with_note(summary, NO_LINE_END)
    summary = with_mixed(summary, sum_mixed(_of_chunks(found, _MIXED, MixedVersions)))
    return with_repeated(summary, sum_repeated(_of_chunks(found, _REPEATED, RepeatedIds)))


def _of_chunks(found: Mapping[bytes, bytes], name: str, kind: type[Note]) -> list[Note]:
    """The notes of that name on chunks, in the order of these."""
    prefix = name.encode()
    noted = {int(key.removeprefix(prefix)): key for key in found if key.startswith(prefix)}
    return [msgspec.json.decode(found[noted[chunk]], type=kind) for chunk in sorted(noted)]


def _with_note(summary: dict[str, Any], note: str) -> dict[str, Any]:
    return {**summary, "notes": list(dict.fromkeys([*summary["notes"], note]))}


def note_missing_line_end(stream: Redis, import_id: str) -> None:
    """Note that the file does not end with a line end."""
    _note(stream, import_id, _UNENDED, b"1")


def note_repeated(stream: Redis, import_id: str, chunk: int, repeated: RepeatedIds) -> None:
    """Note the repeated ids of a chunk; once, if it is loaded twice."""
    _note(stream, import_id, f"{_REPEATED}{chunk}", msgspec.json.encode(repeated))


def note_mixed(stream: Redis, import_id: str, chunk: int, mixed: MixedVersions) -> None:
    """Note the mixed versions of a chunk; once, if it is loaded twice."""
    _note(stream, import_id, f"{_MIXED}{chunk}", msgspec.json.encode(mixed))


def _note(stream: Redis, import_id: str, name: str, value: bytes) -> None:
    key = import_notes(import_id)
    with suppress(redis.RedisError), stream.pipeline() as pipe:
        pipe.hset(key, name, value)
        pipe.expire(key, NOTES_TTL)
        pipe.execute()
