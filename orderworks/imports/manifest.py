"""The manifest of an accepted import: what its workers read about the file."""

from datetime import datetime

import msgspec

from orderworks.imports.columns import ImportKind
from orderworks.imports.file_format import FileFormat, FormatName


class Manifest(msgspec.Struct, frozen=True):
    """What a producer accepted.

    Attributes:
        source: the file's base name, for people.
        mapping: target column to source column, for every column that is used.
        format, delimiter, header: as in `Layout`.
        strict, max_rejects, create_customers, parent, dry_run, keep: as in `Options`.
        data_start: the byte that the first record begins at.
        data_line: the physical line that it begins on.
        version: the version of rows that bring none is this plus their line.
    """

    id: str
    kind: ImportKind
    source: str
    mapping: dict[str, str]
    delimiter: str
    header: list[str]
    data_start: int
    data_line: int
    bytes: int
    sha256: str
    version: int
    accepted_at: datetime
    # What follows came later: a manifest of an older producer has the defaults.
    format: FormatName = "csv"
    strict: bool = False
    max_rejects: int | None = None
    create_customers: bool = False
    parent: str | None = None
    dry_run: bool = False
    keep: bool = False

    @property
    def file_format(self) -> FileFormat:
        """How the data are to be read."""
        return FileFormat(self.format, self.delimiter, self.header)
