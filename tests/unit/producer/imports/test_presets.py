"""Presets: their values are returned, and their errors are named."""

from pathlib import Path
from typing import Any

import pytest

from orderworks.core.errors import ConfigurationError
from producer.imports.presets import read_preset

ERP = """
[erp]
kind = "customers"
delimiter = ";"
create_customers = true
strict = false
max_rejects = 100

[erp.map]
name = "c_name"

[shop]
"""


def preset(folder: Path, text: str, name: str = "erp") -> dict[str, Any]:
    file = folder / "imports.toml"
    file.write_text(text, encoding="utf-8")
    return read_preset(file, name)


def test_preset_contains_only_the_keys_of_its_table(tmp_path: Path) -> None:
    assert preset(tmp_path, ERP) == {
        "kind": "customers",
        "mapping": {"name": "c_name"},
        "delimiter": ";",
        "create_customers": True,
        "strict": False,
        "max_rejects": 100,
    }
    assert preset(tmp_path, ERP, "shop") == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            ERP.replace("[erp]", "[other]").replace("[erp.map]", "[other.map]"),
            "presets: other, shop",
        ),
        ("", "has no preset 'erp'; its presets: none"),
        ("erp = 1", "erp is not a table"),
        ("[erp]\nfile = 1", "[erp] has no key 'file'; there are kind, map, delimiter, "),
        ("[erp]\nkind = 'order'", "[erp] kind: "),
        ("[erp]\nstrict = 'yes'", "[erp] strict: is a text, not true or false"),
        ("[erp]\nmax_rejects = true", "[erp] max_rejects: is true or false, not a whole number"),
        ("[erp.map]\ntotal = 1", "[erp] map: is a whole number, not a text"),
        ("[erp\n", "is not TOML"),
    ],
)
def test_invalid_preset_error_names_file_table_and_key(
    tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        preset(tmp_path, text)
    assert "imports.toml: " in str(refused.value)
    assert expected in str(refused.value)


def test_a_missing_file_is_named_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml: cannot be read: .*IMPORT_PRESETS"):
        read_preset(tmp_path / "none.toml", "erp")
