"""The manifest of an accepted import: what its workers read about the file."""

from datetime import datetime

import msgspec

from orderworks.imports.columns import ImportKind
from orderworks.imports.file_format import FileFormat, FormatName


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of an import that its workers follow: the caller states them, the manifest keeps them.

    Attributes:
        strict: all rows or none.
        max_rejects: with more rejected rows than this, what is not loaded yet is not.
        create_customers: customers that orders name and nobody knows are made.
        parent: the import whose rejects this file brings, mended.
        dry_run: say what would be, and change nothing.
        keep: keep the file of the dry run, to be imported as it is.
    """

    strict: bool = False
    max_rejects: int | None = None
    create_customers: bool = False
    parent: str | None = None
    dry_run: bool = False
    keep: bool = False


class Manifest(LoadOptions, frozen=True):
    """What a producer accepted. A manifest of an older producer lacks members that have defaults here.

    Attributes:
        source: the file's base name, for people.
        mapping: target column to source column, for every column that is used.
        format, delimiter, header: as in `Layout`.
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
    format: FormatName = "csv"

    @property
    def file_format(self) -> FileFormat:
        """How the data are to be read."""
        return FileFormat(self.format, self.delimiter, self.header)
