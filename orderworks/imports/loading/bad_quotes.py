"""Records with a quote that nothing closes, or that closes before other text, and their reasons."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from orderworks.imports.csv_records import BadQuote, Splitter
from orderworks.imports.loading.text_cells import RecordFault


class BadRecord(NamedTuple):
    """A record with a bad quote: its first line, its offset in the chunk, its bytes, and the quote."""

    line: int
    start: int
    data: bytes
    quote: BadQuote


def bad_quote_faults(
    records: Sequence[BadRecord], data: bytes, delimiter: str, following: Callable[[], bytes]
) -> list[RecordFault]:
    """The faults of the records of a chunk. `following` as in `parse`."""
    unclosed = [each for each in records if not each.quote.is_closed]
    if unclosed and (more := following()):
        closed = [each for each in records if each.quote.is_closed]
        records = [*closed, *_searched_further(unclosed, data, more, delimiter)]
    return [_fault(each) for each in records]


def _searched_further(
    records: Sequence[BadRecord], data: bytes, more: bytes, delimiter: str
) -> Iterable[BadRecord]:
    """The same records; the reason must not depend on where the file was cut into chunks."""
    splitter, offset = Splitter(delimiter), records[0].start
    text = data[offset:] + more
    for record in records:
        yield record._replace(quote=splitter.bad_quote(text, record.start - offset))


def _fault(record: BadRecord) -> RecordFault:
    opens, last = record.line + record.quote.opens, record.line + record.quote.last
    rest = f"; lines {opens + 1} to {last} are read as rows of their own" if last > opens else ""
    if record.quote.is_closed:
        where = f"line {last}" if last > opens else "the same line"
        reason = f"a quote opens on line {opens} and closes on {where} before other text{rest}"
        return RecordFault(record.line, "", "text_after_quote", reason)
    searched = f" up to line {last}" if last > opens else ""
    reason = f"a quote opens on line {opens} and nothing closes it{searched}{rest}"
    return RecordFault(record.line, "", "unclosed_quote", reason)
