"""Cuts the records of a file into chunks, in constant memory."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from orderworks.core.settings import Settings
from orderworks.imports.csv_records import RecordRun, split_run_at


class FileChunk(NamedTuple):
    """Records that are loaded together: bytes `start_byte` up to, without, `end_byte`.

    `number` counts from 0; `first_line` is a physical line of the file.
    """

    number: int
    start_byte: int
    end_byte: int
    first_line: int
    rows: int


class ChunkLimits(NamedTuple):
    """The limits of a chunk. A record that alone exceeds them is a chunk of its own."""

    lines: int
    size: int


def chunk_limits(settings: Settings) -> ChunkLimits:
    """The configured limits of a chunk."""
    return ChunkLimits(settings.import_chunk_rows, settings.import_chunk_bytes)


def plan_chunks(
    runs: Iterable[RecordRun], limits: ChunkLimits, start_byte: int, first_line: int
) -> Iterator[FileChunk]:
    """Cut the runs, which begin at that byte and line, into chunks.

    Blank lines belong to a chunk and are not among its rows; a chunk has at least one row.
    """
    draft = _ChunkDraft(0, start_byte, first_line)
    for run in runs:
        rest: RecordRun | None = run
        while rest is not None:
            fitting, rest = split_run(rest, draft.room(limits))
            if rest is not None and fitting is None and not draft.lines:
                fitting, rest = detach_record(rest)
            if fitting is not None:
                draft.add(fitting)
            if rest is not None:
                yield from draft.chunk()
                draft = draft.following()
    yield from draft.chunk()


def split_run(run: RecordRun, room: ChunkLimits) -> tuple[RecordRun | None, RecordRun | None]:
    """Split a run into the records that fit into the room, and the rest."""
    if run.lines <= room.lines and len(run.data) <= room.size:
        return run, None
    if run.is_one_record:
        return None, run
    return split_run_at(run, _end_of_lines(run.data, room))


def detach_record(run: RecordRun) -> tuple[RecordRun | None, RecordRun | None]:
    """Split a run into its first record, or blank line, and the rest."""
    if run.is_one_record:
        return run, None
    return split_run_at(run, run.data.find(b"\n") + 1 or len(run.data))


def _end_of_lines(data: bytes, room: ChunkLimits) -> int:
    """The end of the lines that fit, as a byte of the data."""
    fitting = data.rfind(b"\n", 0, max(room.size, 0)) + 1
    if data.count(b"\n", 0, fitting) <= room.lines:
        return fitting
    end = 0
    for _line in range(room.lines):
        end = data.find(b"\n", end) + 1
    return end


class _ChunkDraft:
    """A chunk while it is filled."""

    def __init__(self, number: int, start_byte: int, first_line: int) -> None:
        self.number = number
        self.start_byte = self.end_byte = start_byte
        self.first_line = first_line
        self.lines = self.rows = 0

    def room(self, limits: ChunkLimits) -> ChunkLimits:
        """The limits that are left for it."""
        size = self.end_byte - self.start_byte
        return ChunkLimits(limits.lines - self.lines, limits.size - size)

    def add(self, run: RecordRun) -> None:
        """Append a run."""
        self.end_byte += len(run.data)
        self.lines += run.lines
        self.rows += run.rows

    def chunk(self) -> Iterator[FileChunk]:
        """The chunk, unless it has only blank lines."""
        if self.rows:
            yield FileChunk(self.number, self.start_byte, self.end_byte, self.first_line, self.rows)

    def following(self) -> "_ChunkDraft":
        """An empty draft that begins where this one ends."""
        return _ChunkDraft(
            self.number + bool(self.rows), self.end_byte, self.first_line + self.lines
        )
