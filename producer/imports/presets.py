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
from orderworks.imports.columns import ImportKind


class Preset(msgspec.Struct, frozen=True):
    """What a table of the file says; None where it says nothing. The names are those of `Options`."""

    kind: ImportKind | None = None
    map: dict[str, str] = {}
    delimiter: str | None = None
    create_customers: bool | None = None
    strict: bool | None = None
    max_rejects: int | None = None


def read_preset(file: Path, name: str) -> Preset:
    """The preset of that name.

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
    values: dict[str, Any] = {
        key: _checked(f"{file}: [{name}]", key, each) for key, each in tables[name].items()
    }
    return Preset(**values)


def _tables(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{file}: cannot be read: {error.strerror}; presets are kept there (IMPORT_PRESETS)"
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{file}: is not TOML: {error}") from None


def _checked(table: str, key: str, value: object) -> Any:  # noqa: ANN401 - of the type of the field
    fields = {field.name: field.type for field in msgspec.structs.fields(Preset)}
    if key not in fields:
        raise ConfigurationError(f"{table} has no key '{key}'; there are {', '.join(fields)}")
    try:
        return msgspec.convert(value, fields[key])
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{table} {key}: {error}") from None
