"""Cuts text into records. The plan and the parse both do it here, so they agree.

The rules for CSV are the strict ones of Python's csv module: a quote opens only at the start of a field,
`""` within quotes is a quote, and only blanks may follow a closing quote. A record with any other quote
ends with the line on which that quote opens; the next line begins a record. Lines end in LF, after any
number of CRs.

Lines without a quote, nearly all in most files, are never examined one by one; those with one are
matched by the hundred in one regular expression. In JSON Lines, each line is a record.
"""

import csv
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import NamedTuple

from orderworks.core.errors import ImportFailed
from orderworks.imports.file_format import FileFormat

MAX_RECORD_BYTES = 1 << 20
"""Bytes of a record, line end included. A quote that is not closed within them is never closed."""


PLAIN_BETWEEN = 4
"""Lines without a quote that are matched along with those around them whose quotes are not simple. A
run for each would take three times as long."""


class RecordForm(Enum):
    """The form that the records of a run have in common."""

    PLAIN = auto()
    """One line each, no quote in any; some may be blank."""
    QUOTED = auto()
    """One line each, the first with a quote."""
    SPANNING = auto()
    """One record of several lines: a line end stands within quotes."""
    BAD_QUOTE = auto()
    """One record that cannot be read, up to the line on which its bad quote opens."""


class BadQuote(NamedTuple):
    """A quote that nothing closes, or with text after the closing one. Lines count from the record's: 0.

    Attributes:
        opens: the line on which it opens.
        last: the line on which it closes; the last one that was searched, if nothing closes it.
        is_closed: whether it is closed, before other text.
    """

    opens: int
    last: int
    is_closed: bool


class RecordRun(NamedTuple):
    """Whole lines that follow each other, with their line ends. `rows` are those not blank."""

    form: RecordForm
    data: bytes
    lines: int
    rows: int
    bad_quote: BadQuote | None = None

    @property
    def is_one_record(self) -> bool:
        """True if it cannot be split."""
        return self.form in (RecordForm.SPANNING, RecordForm.BAD_QUOTE)


def plain_or_quoted(form: RecordForm, data: bytes) -> RecordRun:
    """A run of records of one line each."""
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    return RecordRun(form, data, lines, lines - _blank_lines(data))


def split_run_at(run: RecordRun, end: int) -> tuple[RecordRun | None, RecordRun | None]:
    """The records of one line each up to that byte, where one ends, and the others."""
    if not 0 < end < len(run.data):
        return (run, None) if end else (None, run)
    first, rest = run.data[:end], run.data[end:]
    lines = first.count(b"\n")
    # Where no line is blank, blank lines need not be counted again.
    rows = lines if run.rows == run.lines else lines - _blank_lines(first)
    return (
        RecordRun(run.form, first, lines, rows),
        RecordRun(run.form, rest, run.lines - lines, run.rows - rows),
    )


def _blank_lines(data: bytes) -> int:
    """The number of blank lines. Single lines are examined only if there may be some."""
    # A search for one byte is many times as fast as one for two.
    if data[:1] in b"\r\n" or b"\n\n" in data or (b"\r" in data and b"\n\r" in data):
        return sum(not line.strip(b"\r") for line in data.removesuffix(b"\n").split(b"\n"))
    return 0


def splitter(file_format: FileFormat) -> "Splitter | LineSplitter":
    """The splitter for texts of that format."""
    return LineSplitter() if file_format.format == "jsonl" else Splitter(file_format.delimiter)


class LineSplitter:
    """Splits blocks of bytes into runs of which each line is a record, with or without quotes."""

    def __init__(self, max_bytes: int = MAX_RECORD_BYTES) -> None:
        self._longest = max_bytes

    def runs(self, blocks: Iterable[bytes]) -> Iterator[RecordRun]:
        """The runs, in order; together they are the blocks' bytes.

        Raises:
            ImportFailed: a line is longer than a record may be.
        """
        data = b""
        for block in blocks:
            data += block
            end = data.rfind(b"\n") + 1
            if end:
                yield plain_or_quoted(RecordForm.PLAIN, data[:end])
                data = data[end:]
            _reject_longer(data, self._longest)
        if data:
            yield plain_or_quoted(RecordForm.PLAIN, data)


class Splitter:
    """Splits blocks of bytes into runs. Holds at most a block and a record."""

    def __init__(self, delimiter: str, max_bytes: int = MAX_RECORD_BYTES) -> None:
        """`delimiter` is one ASCII character; `max_bytes` limits a record."""
        one_line = _record(delimiter, rb"\n")
        any_lines = _record(delimiter, rb"")
        # Atomic throughout: no backtracking, so the time is linear for any input. Repeated
        # groups are in atomic groups, because Python before 3.11.5 matches possessive ones wrongly.
        edge = re.escape(delimiter.encode("ascii"))
        around = rb'"[^"\n]*+(?>(?:""[^"\n]*+)*)"' + _blanks(delimiter)
        simple = rb"(?>" + around + rb'|[^"\n' + edge + rb"]*+)[\n" + edge + rb"]"
        # Most quotes just surround a field: this is twice as fast, and leaves the others to the next.
        self._simple = re.compile(rb"(?>(?:" + simple + rb")*)")
        few_plain = rb'(?>(?:[^"\n]*+\n){0,%d})' % PLAIN_BETWEEN
        with_quote = rb'(?=[^"\n]*+")' + one_line + rb"(?:\n|\Z)"
        self._quoted = re.compile(rb"(?>(?:" + few_plain + with_quote + rb"){0,100})")
        self._spanning = re.compile(any_lines + rb"\n")
        self._last = re.compile(any_lines + rb"\Z")
        self._fields = re.compile(rb"(?>(?:" + _field(delimiter, rb"") + edge + rb")*)")
        self._within_quotes = re.compile(rb'"(?>(?:[^"]++|"")*)')
        self._after_quote = re.compile(rb'"' + _blanks(delimiter))
        self._longest = max_bytes

    def runs(self, blocks: Iterable[bytes]) -> Iterator[RecordRun]:
        """The runs, in order; together they are the blocks' bytes.

        Raises:
            ImportFailed: a line is longer than a record may be.
        """
        data = b""
        for block in blocks:
            data += block
            done = yield from self._ready(data, final=False)
            data = data[done:]
            if b"\n" not in data:
                _reject_longer(data, self._longest)
        yield from self._ready(data, final=True)

    def _ready(self, data: bytes, *, final: bool) -> Generator[RecordRun, None, int]:
        """The runs that are complete within the bytes; returns the number of their bytes."""
        start, end = 0, len(data) if final else data.rfind(b"\n") + 1
        while start < end:
            quote = data.find(b'"', start, end)
            line = end if quote < 0 else max(start, data.rfind(b"\n", start, quote) + 1)
            if line > start:
                yield plain_or_quoted(RecordForm.PLAIN, data[start:line])
                start = line
            elif quoted := self._one_line_each(data, start, end):
                yield plain_or_quoted(RecordForm.QUOTED, data[start:quoted])
                start = quoted
            elif run := self._across_lines(data, start, final=final):
                yield run
                start += len(run.data)
            else:
                break
        return start

    def _one_line_each(self, data: bytes, start: int, end: int) -> int:
        """The end of the one-line records from `start`; 0 if the first one continues on another line."""
        simple = self._simple.match(data, start, end)
        # The match may end within a line.
        lines = data.rfind(b"\n", start, simple.end()) + 1 if simple else 0
        if lines > start:
            return lines
        quoted = self._quoted.match(data, start, end)
        return quoted.end() if quoted and quoted.end() > start else 0

    def _across_lines(self, data: bytes, start: int, *, final: bool) -> RecordRun | None:
        """The record that opens a quote on this line; None if it may continue after the bytes.

        The result depends on the record's own bytes only, never on where the blocks were cut.
        """
        limit = start + self._longest
        record = self._spanning.match(data, start, limit)
        if record is None and final and len(data) <= limit:
            record = self._last.match(data, start)
        if record:
            lines = record.group().removesuffix(b"\n").count(b"\n") + 1
            return RecordRun(RecordForm.SPANNING, record.group(), lines, 1)
        bad = self.bad_quote(data, start)
        if not (bad.is_closed or final or len(data) > limit):
            return None
        end = start
        for _line in range(bad.opens + 1):
            end = data.find(b"\n", end) + 1 or len(data)
        return RecordRun(RecordForm.BAD_QUOTE, data[start:end], bad.opens + 1, 1, bad)

    def bad_quote(self, data: bytes, start: int) -> BadQuote:
        """The quote because of which no record begins there, as far as the bytes show it.

        The line on which it opens is the same wherever the bytes end after that line.
        """
        limit = min(start + self._longest, len(data))
        opens = self._field_start(data, start, limit)
        closes = self._closing_quote(data, opens, limit)
        if closes is not None:
            return BadQuote(
                data.count(b"\n", start, opens), data.count(b"\n", start, closes), is_closed=True
            )
        if limit < len(data):
            # Too long. The quote is the one that is open at the last line end that is near enough.
            limit = data.rfind(b"\n", start, limit) + 1 or limit
            opens = self._field_start(data, start, limit)
        last = data.count(b"\n", start, limit - 1)
        return BadQuote(data.count(b"\n", start, opens), last, is_closed=False)

    def _field_start(self, data: bytes, start: int, limit: int) -> int:
        """The start of the first field of the record that is not complete before the limit."""
        complete = self._fields.match(data, start, limit)
        return complete.end() if complete else start

    def _closing_quote(self, data: bytes, opens: int, limit: int) -> int | None:
        """The quote that closes the one at `opens`, if other text is known to follow it."""
        within = self._within_quotes.match(data, opens, limit)
        after = within and self._after_quote.match(data, within.end(), limit)
        return after.start() if after and after.end() < limit else None


def _reject_longer(line: bytes, max_bytes: int) -> None:
    if len(line) > max_bytes:
        raise ImportFailed(f"a line is longer than {max_bytes} bytes")


def _record(delimiter: str, unquotable: bytes) -> bytes:
    """The expression for one record without its line end; `unquotable` cannot stand in quotes."""
    edge, field = re.escape(delimiter.encode("ascii")), _field(delimiter, unquotable)
    return field + rb"(?>(?:" + edge + field + rb")*)"


def _field(delimiter: str, unquotable: bytes) -> bytes:
    """The expression for one field, which may be empty."""
    edge = re.escape(delimiter.encode("ascii"))
    quoted = rb'"(?>(?:[^"' + unquotable + rb']++|"")*)"' + _blanks(delimiter)
    return rb"(?>(?:" + quoted + rb'|[^"' + edge + rb"\n][^" + edge + rb"\n]*+)?)"


def _blanks(delimiter: str) -> bytes:
    """The expression for what may follow a closing quote within its field."""
    return rb"[" + "".join({*" \t\r"} - {delimiter}).encode() + rb"]*+"


# A field may be as long as a record, as it is for the splitter.
csv.field_size_limit(MAX_RECORD_BYTES)


def read_records(records: Sequence[str], delimiter: str) -> list[list[str]]:
    """The fields of each record. A record has no line end after it."""
    try:
        return list(csv.reader(records, delimiter=delimiter))
    except csv.Error:
        # A CR outside quotes, which csv refuses, is data in lines without a quote: so it is here.
        return [_read_record(record, delimiter) for record in records]


def _read_record(record: str, delimiter: str) -> list[str]:
    edge = re.escape(delimiter)
    fields = re.finditer(rf'(?:"((?:[^"]++|"")*+)")?([^{edge}]*+){edge}', record + delimiter)
    return [(field[1] or "").replace('""', '"') + field[2] for field in fields]
