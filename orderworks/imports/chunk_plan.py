"""Cuts the records of a file into chunks, in constant memory."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from orderworks.core.settings import Settings
from orderworks.imports.csv_records import RecordForm, RecordRun, split_run_at


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
    """What a chunk holds at the most. A record that is longer by itself is a chunk by itself."""

    lines: int
    size: int


def chunk_limits(settings: Settings) -> ChunkLimits:
    """What a chunk may hold by the settings."""
    return ChunkLimits(settings.import_chunk_rows, settings.import_chunk_bytes)


def plan_chunks(
    runs: Iterable[RecordRun], limits: ChunkLimits, start_byte: int, first_line: int
) -> Iterator[FileChunk]:
    """The chunks that the runs, which begin at that byte and line, are to be loaded in.

    Lines that are blank belong to a chunk and are not among its rows; a chunk has one row at least.
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
    """What of the run's records fits into the room, and the rest."""
    if run.lines <= room.lines and len(run.data) <= room.size:
        return run, None
    if run.form in (RecordForm.SPANNING, RecordForm.UNCLOSED):
        return None, run
    return split_run_at(run, _end_of_lines(run.data, room))


def detach_record(run: RecordRun) -> tuple[RecordRun | None, RecordRun | None]:
    """The run's first record, or blank line, and the rest."""
    if run.form in (RecordForm.SPANNING, RecordForm.UNCLOSED):
        return run, None
    return split_run_at(run, run.data.find(b"\n") + 1 or len(run.data))


def _end_of_lines(data: bytes, room: ChunkLimits) -> int:
    """Where the lines that fit end."""
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
        """What it can still take."""
        size = self.end_byte - self.start_byte
        return ChunkLimits(limits.lines - self.lines, limits.size - size)

    def add(self, run: RecordRun) -> None:
        """Take a run in."""
        self.end_byte += len(run.data)
        self.lines += run.lines
        self.rows += run.rows

    def chunk(self) -> Iterator[FileChunk]:
        """The chunk, unless there is nothing in it but blank lines."""
        if self.rows:
            yield FileChunk(self.number, self.start_byte, self.end_byte, self.first_line, self.rows)

    def following(self) -> "_ChunkDraft":
        """An empty one that begins where this one ends."""
        return _ChunkDraft(
            self.number + bool(self.rows), self.end_byte, self.first_line + self.lines
        )
