"""The manifest of an accepted import, which its workers read."""

from datetime import datetime
from typing import Annotated

import msgspec

from orderworks.core.bounds import MAX_BIGINT
from orderworks.core.versions import VERSION_MOMENTS, has_version
from orderworks.imports.columns import EmptyCells, ImportKind
from orderworks.imports.file_format import FileFormat, FormatName
from orderworks.imports.reject_limit import SHARE

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_BIGINT)]
"""A number that the ledger can hold."""

Share = Annotated[str, msgspec.Meta(pattern=SHARE)]

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with a time zone."""

YEARS = range(1970, 9999)
"""Years of `accepted_at`: times that every clock and every time zone can show."""


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of an import that are stored in its manifest, for its workers.

    Attributes:
        strict: apply all rows, or none if one is rejected.
        max_rejects: start no further chunk after more rejected rows than this, a number or a share of
            all rows such as `10%`; None: no limit.
        create_customers: create customers that orders refer to and that do not exist.
        parent: id of the import whose rejected rows this file has, corrected.
        dry_run: report what the import would do, and change nothing.
        keep: keep the file of the dry run, so that it can be imported later.
        as_of: the moment of the rows that have no version of their own; None: their acceptance.
        empty: whether an empty cell of CSV keeps or clears a field that may be null.
    """

    strict: bool = False
    max_rejects: Count | Share | None = None
    create_customers: bool = False
    parent: str | None = None
    dry_run: bool = False
    keep: bool = False
    as_of: Moment | None = None
    empty: EmptyCells = "keeps"


class Manifest(LoadOptions, frozen=True):
    """The description of an accepted file. Older producers leave out members that have a default here.

    Attributes:
        source: the file's base name, for display.
        mapping: target column to source column, for every column that is used.
        format, delimiter, header: as in `FileFormat`.
        data_start: offset of the first record, in bytes.
        data_line: physical line on which it begins, from 1.
        version: a row without a version has this plus its line.
        modified_at: the time at which the file was last written, if that is known.
    """

    id: str
    kind: ImportKind
    source: str
    mapping: dict[str, str]
    delimiter: str
    header: list[str]
    data_start: Count
    data_line: Count
    bytes: Count
    sha256: str
    version: Count
    accepted_at: datetime
    format: FormatName = "csv"
    modified_at: Moment | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` for numbers from which those of rows cannot be made."""
        if self.version + self.data_line + self.bytes > MAX_BIGINT:
            raise ValueError("version is too large: rows could not have their line added to it")
        if self.data_start > self.bytes:
            raise ValueError("data_start is beyond bytes, the end of the data")
        if self.accepted_at.year not in YEARS:
            raise ValueError(f"accepted_at is in the year {self.accepted_at.year}")
        for name, moment in (("as_of", self.as_of), ("modified_at", self.modified_at)):
            if moment is not None and not has_version(moment):
                raise ValueError(f"{name} is not {VERSION_MOMENTS}")

    @property
    def file_format(self) -> FileFormat:
        """The format of the data."""
        return FileFormat(self.format, self.delimiter, self.header)


def decode_manifest(content: bytes, import_id: str) -> Manifest:
    """Return the manifest that is stored for this import.

    Raises:
        ValueError: it is not a manifest, or that of another import; the message is what is wrong.
    """
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if manifest.id != import_id:
        raise ValueError(f"it is of import {manifest.id[:80]!r}")
    return manifest
