"""What an import is asked to do: completed by presets and parents, and refused where it contradicts."""

from collections.abc import Mapping
from typing import NamedTuple, get_args

import msgspec

from orderworks.core.errors import InvalidInput
from orderworks.imports.columns import CUSTOMER_NAME, PARENT_LINE, ImportKind
from orderworks.imports.progress import Summary
from producer.imports.presets import Preset

REJECTS_BOUND = 2**63
"""What the ledger cannot count up to."""


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

    kind: ImportKind = "orders"
    mapping: Mapping[str, str] = {}
    delimiter: str | None = None
    strict: bool = False
    max_rejects: int | None = None
    create_customers: bool = False
    parent: str | None = None
    again: bool = False
    dry_run: bool = False
    keep: bool = False


def require_kind(kind: str) -> ImportKind:
    """The kind, if there is such a one.

    Raises:
        InvalidInput: there is not.
    """
    kinds: tuple[ImportKind, ...] = get_args(ImportKind)
    for known in kinds:
        if kind == known:
            return known
    raise InvalidInput(f"'{kind}' is nothing to import: there are {' and '.join(kinds)}")


def check_options(options: Options) -> None:
    """Raise InvalidInput where two options contradict each other, or one makes no sense."""
    require_kind(options.kind)
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
            options.create_customers and options.kind != "orders"
        ),
        "parent and dry_run: whether mended rows are good is seen when they are imported": (
            options.parent is not None and options.dry_run
        ),
    }
    for sentence, holds in contradictions.items():
        if holds:
            raise InvalidInput(sentence)


def with_parent_defaults(preset: Preset, parent: Summary) -> Preset:
    """The preset for mended rejects of an import: where it says nothing, what was true of its file."""
    made = parent.get("create_customers", CUSTOMER_NAME in parent["mapping"])
    mapping = {name: source for name, source in parent["mapping"].items() if name != PARENT_LINE}
    return msgspec.structs.replace(
        preset,
        kind=preset.kind or require_kind(parent["kind"]),
        map={**mapping, **preset.map},
        create_customers=made if preset.create_customers is None else preset.create_customers,
    )


def refuse_unknown_parent(parent: str, kind: str | None, mapping: Mapping[str, str] | None) -> None:
    """Raise InvalidInput if nothing tells how mended rejects of a forgotten import are to be read."""
    if kind is None or mapping is None:
        raise InvalidInput(
            f"parent: how import {parent} was read is not known here any more; give its kind and "
            "its mapping ({} if it had none)"
        )
