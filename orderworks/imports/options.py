"""What a producer may ask of an import, beside the file."""

from collections.abc import Mapping
from typing import NamedTuple

from orderworks.imports.columns import Kind


class Options(NamedTuple):
    """How a file is to be imported.

    Attributes:
        mapping: names of the file's columns by names of the table's.
        delimiter: one ASCII character; None finds out.
        strict: all rows or none.
        max_rejects: with more rejected rows than this, what is not loaded yet is not.
        create_customers: customers that orders name and nobody knows are made.
        parent: the import whose rejects this file brings, mended.
        again: import it although the same content was imported before.
        dry_run: say what would be, and change nothing.
        keep: keep the file of the dry run, to be imported as it is.
    """

    kind: Kind = "orders"
    mapping: Mapping[str, str] = {}
    delimiter: str | None = None
    strict: bool = False
    max_rejects: int | None = None
    create_customers: bool = False
    parent: str | None = None
    again: bool = False
    dry_run: bool = False
    keep: bool = False
