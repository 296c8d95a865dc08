"""What is always the same about the files of one source, kept under a name in a TOML file.

It looks like this:

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
from producer.imports.options import ImportOptions

OF_ONE_FILE = {"preset", "parent", "again", "dry_run", "keep"}
"""Options that no preset has: they are not the same for all files of a source."""

FIELDS = {
    # TOML has the table [NAME.map] for it.
    "map" if field.name == "mapping" else field.name: field
    for field in msgspec.structs.fields(ImportOptions)
    if field.name not in OF_ONE_FILE
}
"""The fields of `ImportOptions` by the keys of a preset."""


def read_preset(file: Path, name: str) -> dict[str, Any]:
    """Values of fields of `ImportOptions`: those that the preset of that name has.

    Raises:
        ConfigurationError: the file cannot be read, or has no such table, or the table has a key that
            is unknown or a value of the wrong type; says which, and what there is.
    """
    tables = _tables(file)
    if name not in tables:
        known = ", ".join(tables) or "none"
        raise ConfigurationError(f"{file}: has no preset '{name}'; its presets: {known}")
    if not isinstance(tables[name], dict):
        raise ConfigurationError(f"{file}: {name} is no table: a preset begins with [{name}]")
    values = tables[name].items()
    return dict(_option(f"{file}: [{name}]", key, value) for key, value in values)


def _tables(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{file}: cannot be read: {error.strerror}; presets are kept there (IMPORT_PRESETS)"
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{file}: is not TOML: {error}") from None


def _option(table: str, key: str, value: object) -> tuple[str, Any]:
    """The field that the key stands for, and its value, of the field's type."""
    if key not in FIELDS:
        raise ConfigurationError(f"{table} has no key '{key}'; there are {', '.join(FIELDS)}")
    try:
        return FIELDS[key].name, msgspec.convert(value, FIELDS[key].type)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{table} {key}: {error}") from None
