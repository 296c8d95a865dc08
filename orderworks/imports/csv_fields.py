"""The fields of CSV records, by the rules that `records` cuts by.

Loads neither polars nor SQLAlchemy: a chunk's parse and the writer of rejects both read by it.
"""

import csv
import re
from collections.abc import Sequence

from orderworks.imports.csv_records import LONGEST_RECORD

# A field may be as long as a record, as it is for the splitter.
csv.field_size_limit(LONGEST_RECORD)


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
