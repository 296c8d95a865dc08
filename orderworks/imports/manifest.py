"""The manifest of an accepted import, which its workers read."""

from datetime import datetime

import msgspec

from orderworks.imports.columns import ImportKind
from orderworks.imports.file_format import FileFormat, FormatName


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of an import that are stored in its manifest, for its workers.

    Attributes:
        strict: apply all rows, or none if one is rejected.
        max_rejects: start no further chunk after more rejected rows than this; None: no limit.
        create_customers: create customers that orders refer to and that do not exist.
        parent: id of the import whose rejected rows this file has, corrected.
        dry_run: report what the import would do, and change nothing.
        keep: keep the file of the dry run, so that it can be imported later.
    """

    strict: bool = False
    max_rejects: int | None = None
    create_customers: bool = False
    parent: str | None = None
    dry_run: bool = False
    keep: bool = False


class Manifest(LoadOptions, frozen=True):
    """The description of an accepted file. Older producers leave out members that have a default here.

    Attributes:
        source: the file's base name, for display.
        mapping: target column to source column, for every column that is used.
        format, delimiter, header: as in `FileFormat`.
        data_start: offset of the first record, in bytes.
        data_line: physical line on which it begins, from 1.
        version: a row without a version has this plus its line.
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
        """The format of the data."""
        return FileFormat(self.format, self.delimiter, self.header)
