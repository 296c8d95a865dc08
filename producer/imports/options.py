"""The options of an import, as one struct from the caller to the manifest, and their checks."""

import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypedDict, TypeVar, get_args

import msgspec

from orderworks.core.errors import InvalidInput
from orderworks.core.versions import VERSION_MOMENTS, has_version
from orderworks.imports.columns import EmptyCells, ImportKind
from orderworks.imports.manifest import LoadOptions
from orderworks.imports.reject_limit import check_max_rejects, read_max_rejects


class ImportOptions(LoadOptions, frozen=True):
    """Options of the import of a file: the parameters of `Producer.import_file`, with its defaults.

    A field with its default value is not stated: `complete_options` takes it from the preset or the
    parent. The fields of `LoadOptions` are stored in the manifest. A new option is a field in one of the
    two and in `ImportKeywords`, and a parameter of the command and of the gateway's query.

    Attributes:
        kind: kind of the rows; None: that of the preset or the parent, or orders.
        mapping: names of the file's columns by names of the table's columns.
        delimiter: one ASCII character; None: it is detected.
        preset: name of the preset that has values for options that are not stated.
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
"""Every option with its default: the caller stated none."""


class ImportKeywords(TypedDict, total=False):
    """The keyword arguments of `import_file`: the fields of `ImportOptions`.

    Attributes:
        kind: `orders` or `customers`; default: that of the preset or the parent, or orders.
        mapping: names of the file's columns by names of ours: `{"total": "o_totalprice"}`.
        delimiter: one character; detected by default.
        preset: name of a table of the file `IMPORT_PRESETS`, with values for options that are not
            given here.
        strict: apply all rows, or none if one is rejected.
        max_rejects: load no further chunk after more rejected rows than this: a number, or a share of
            the file's rows such as "10%".
        create_customers: create customers that orders refer to and that do not exist.
        parent: id of the import whose rejected rows this file has, corrected, in the format of
            `orderworks rejects ID --format csv`. Kind, mapping and create_customers are the
            parent's by default; a week after its end, kind and mapping have to be given.
        again: import the file although the same content was imported with the same options
            before. Otherwise the job of that import is returned, and its `repeated` is true.
        dry_run: report what the import would do, and change nothing.
        keep: keep the file of the dry run for six hours, for `import_tried`.
        as_of: the moment at which the content was made, with a time zone: what was written since
            is newer than the file. Default: all that was accepted before the file is older.
        empty: `keeps` or `clears`: what an empty cell of CSV does to a customer's e-mail or phone.
    """

    kind: str | None
    mapping: Mapping[str, str] | None
    delimiter: str | None
    preset: str | None
    strict: bool
    max_rejects: int | str | None
    create_customers: bool
    parent: str | None
    again: bool
    dry_run: bool
    keep: bool
    as_of: datetime | None
    empty: str


Method = TypeVar("Method", bound=Callable[..., object])


def shows_keywords(method: Method) -> Method:
    """Have `help()` show the keyword arguments of a method with `**options: Unpack[ImportKeywords]`."""
    *parameters, _options = inspect.signature(method).parameters.values()
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(UNSTATED, name))
        for name in ImportKeywords.__annotations__
    ]
    method.__signature__ = inspect.Signature([*parameters, *keywords])  # type: ignore[attr-defined]
    method.__doc__ = f"{inspect.getdoc(method)}\n\n{inspect.getdoc(ImportKeywords)}"
    return method


def select_options(arguments: Mapping[str, Any]) -> ImportOptions:
    """Return the options among the arguments of a command or request, which have the fields' names.

    Raises:
        InvalidInput: there is no such kind.
    """
    return make_options(
        {name: arguments[name] for name in UNSTATED.__struct_fields__ if name in arguments}
    )


def make_options(keywords: Mapping[str, Any]) -> ImportOptions:
    """Return the options that these keyword arguments state.

    Raises:
        InvalidInput: there is no such kind.
        TypeError: an argument is not the name of an option.
    """
    kind, limit = keywords.get("kind"), keywords.get("max_rejects")
    return ImportOptions(
        **{
            **keywords,
            "kind": require_kind(kind) if kind else None,
            "max_rejects": read_max_rejects(limit) if isinstance(limit, str) else limit,
        }
    )


def stated_values(options: ImportOptions) -> dict[str, Any]:
    """Return the fields whose values differ from their defaults, by name."""
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
    raise InvalidInput(f"'{kind}' cannot be imported: the kinds are {' and '.join(kinds)}")


def check_options(options: ImportOptions) -> None:
    """Raise InvalidInput where two options contradict each other, or one is out of range."""
    require_kind(options.resolved_kind)
    limit = options.max_rejects
    check_max_rejects(limit)
    if options.parent is not None and not (
        options.parent.isascii() and options.parent.isprintable()
    ):
        raise InvalidInput(f"parent: {options.parent!r} is not the id of an import")
    if options.as_of is not None:
        _check_moment(options.as_of)
    if options.empty not in get_args(EmptyCells):
        raise InvalidInput(f"empty: {options.empty!r} is neither keeps nor clears")
    contradictions = {
        "empty: only customers have fields that can be cleared, e-mail and phone": (
            options.empty == "clears" and options.resolved_kind != "customers"
        ),
        "keep: only a dry run's file can be kept": options.keep and not options.dry_run,
        "strict and max_rejects: strict already allows no reject": (
            options.strict and limit is not None
        ),
        "create_customers: only orders refer to customers that could be created": (
            options.create_customers and options.resolved_kind != "orders"
        ),
        "parent and dry_run: corrected rows are checked only when they are imported": (
            options.parent is not None and options.dry_run
        ),
        "parent and as_of: corrected rows have the versions that they had in the parent's file": (
            options.parent is not None and options.as_of is not None
        ),
    }
    for message, holds in contradictions.items():
        if holds:
            raise InvalidInput(message)


def _check_moment(as_of: datetime) -> None:
    if as_of.tzinfo is None:
        raise InvalidInput(f"as_of: {as_of} has no time zone; give one, such as UTC")
    if not has_version(as_of):
        raise InvalidInput(f"as_of: {as_of} is not {VERSION_MOMENTS}")


def check_is_past(as_of: datetime | None, now: datetime) -> None:
    """Raise InvalidInput if the moment is in the future: later writes would be older than the file."""
    if as_of is not None and as_of > now:
        raise InvalidInput(f"as_of: {as_of} is in the future; it is {now:%Y-%m-%d %H:%M:%S} UTC")
