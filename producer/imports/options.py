"""The options of an import: one struct, from the caller to the manifest, and what is wrong with it."""

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from orderworks.core.errors import InvalidInput
from orderworks.imports.columns import ImportKind
from orderworks.imports.manifest import LoadOptions

REJECTS_BOUND = 2**63
"""First number that a column of the ledger cannot hold."""


class ImportOptions(LoadOptions, frozen=True):
    """How a file is to be imported. The names and defaults are those of `Producer.import_file`.

    A field that has its default was not stated: `producer/imports/defaults.py` completes it. The fields
    of `LoadOptions` go into the manifest as they are.

    Attributes:
        kind: what the rows are; None: orders, unless a preset or the parent says otherwise.
        mapping: names of the file's columns by names of the table's.
        delimiter: one ASCII character; None detects it.
        preset: name of the preset whose values count where none is stated.
        again: import the file although the same content was imported before.
    """

    kind: ImportKind | None = None
    mapping: Mapping[str, str] | None = None
    delimiter: str | None = None
    preset: str | None = None
    again: bool = False

    @property
    def resolved_kind(self) -> ImportKind:
        """The kind; orders where none is stated."""
        return self.kind or "orders"

    @property
    def resolved_mapping(self) -> Mapping[str, str]:
        """The mapping; empty where none is stated."""
        return self.mapping or {}


UNSTATED = ImportOptions()
"""Options of which the caller stated none."""


def select_options(arguments: Mapping[str, Any]) -> ImportOptions:
    """Return the options among a function's arguments: those that have the name of a field.

    Raises:
        InvalidInput: there is no such kind.
    """
    options = {name: arguments[name] for name in UNSTATED.__struct_fields__ if name in arguments}
    kind = options.pop("kind", None)
    return ImportOptions(**options, kind=require_kind(kind) if kind else None)


def stated_values(options: ImportOptions) -> dict[str, Any]:
    """The fields that do not have their default."""
    values = msgspec.structs.asdict(options)
    return {name: value for name, value in values.items() if value != getattr(UNSTATED, name)}


def require_kind(kind: str) -> ImportKind:
    """Return the kind, if it exists.

    Raises:
        InvalidInput: it does not.
    """
    kinds: tuple[ImportKind, ...] = get_args(ImportKind)
    for known in kinds:
        if kind == known:
            return known
    raise InvalidInput(f"'{kind}' is nothing to import: there are {' and '.join(kinds)}")


def check_options(options: ImportOptions) -> None:
    """Raise InvalidInput where two options contradict each other, or one makes no sense."""
    require_kind(options.resolved_kind)
    limit = options.max_rejects
    if limit is not None and not 0 <= limit < REJECTS_BOUND:
        raise InvalidInput(f"max_rejects: {limit} is not from 0 to 2^63 - 1")
    if options.parent is not None and not (
        options.parent.isascii() and options.parent.isprintable()
    ):
        raise InvalidInput(f"parent: {options.parent!r} is the id of no import")
    contradictions = {
        "keep: only a dry run's file can be kept": options.keep and not options.dry_run,
        "strict and max_rejects: strict already allows no reject": (
            options.strict and limit is not None
        ),
        "create_customers: only orders name customers that could be made": (
            options.create_customers and options.resolved_kind != "orders"
        ),
        "parent and dry_run: whether mended rows are good is seen when they are imported": (
            options.parent is not None and options.dry_run
        ),
    }
    for sentence, holds in contradictions.items():
        if holds:
            raise InvalidInput(sentence)
