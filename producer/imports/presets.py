"""Presets: named options for the files of one source, in a TOML file.

An example of a table:

[erp]
kind = "orders"
delimiter = ";"
create_customers = true

[erp.map]
total = "o_totalprice"
"""

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from orderworks.core.errors import ConfigurationError
from orderworks.core.invalid_values import describe_json
from producer.imports.options import ImportOptions

PER_IMPORT = {"preset", "parent", "again", "dry_run", "keep"}
"""Options that a preset cannot have: they differ between files of one source."""

FIELDS = {
    # The mapping is the table [NAME.map].
    "map" if field.name == "mapping" else field.name: field
    for field in msgspec.structs.fields(ImportOptions)
    if field.name not in PER_IMPORT
}
"""The fields of `ImportOptions` by the keys of a preset."""


def read_preset(file: Path, name: str) -> dict[str, Any]:
    """Return the values of the preset of that name, by field of `ImportOptions`.

    Raises:
        ConfigurationError: the file cannot be read or has no such table, or the table has an unknown
            key or a value of the wrong type; the message names it, and what would be valid.
    """
    tables = _tables(file)
    if name not in tables:
        known = ", ".join(tables) or "none"
        raise ConfigurationError(f"{file}: has no preset '{name}'; its presets: {known}")
    if not isinstance(tables[name], dict):
        raise ConfigurationError(f"{file}: {name} is not a table: a preset begins with [{name}]")
    values = tables[name].items()
    return dict(_option(f"{file}: [{name}]", key, value) for key, value in values)


def _tables(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(
            f"{file}: cannot be read: {error.strerror}; presets are kept there (IMPORT_PRESETS)"
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{file}: is not TOML: {error}") from None


def _option(table: str, key: str, value: object) -> tuple[str, Any]:
    """Return the name of the key's field, and the value converted to the field's type."""
    if key not in FIELDS:
        raise ConfigurationError(f"{table} has no key '{key}'; there are {', '.join(FIELDS)}")
    try:
        return FIELDS[key].name, msgspec.convert(value, FIELDS[key].type)
    except msgspec.ValidationError as error:
        problem, _, _path = str(error).partition(" - at `$")
        raise ConfigurationError(f"{table} {key}: {describe_json(problem)}") from None
