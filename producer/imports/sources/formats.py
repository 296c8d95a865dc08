"""The format of a file: by its extension if that is known, else by its first bytes."""

import codecs
import re
from pathlib import PurePath
from typing import Literal

from orderworks.core.errors import InvalidFile
from producer.imports.sources.parquet import MAGIC

COMPRESSED_EXTENSIONS = (".gz", ".zst")

BY_EXTENSION: dict[str, Literal["csv", "jsonl", "parquet"]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}

_OBJECT = re.compile(rb"\s*(?:\[\s*)?\{")
"""The start of JSON Lines, or of an array of objects, which `read_jsonl_header` refuses."""


def extension(name: str) -> str:
    """Return the extension of the name, such as `.csv`, without an extension for compression."""
    path = PurePath(name.lower())
    return (path.with_suffix("") if path.suffix in COMPRESSED_EXTENSIONS else path).suffix


def find_format(name: str, start: bytes) -> Literal["csv", "jsonl", "parquet"]:
    """Return the format of a file with that name and those first bytes.

    Raises:
        InvalidFile: the extension is that of Parquet and the content is not.
    """
    if start.startswith(MAGIC):
        return "parquet"
    by_name = BY_EXTENSION.get(extension(name))
    if by_name == "parquet":
        raise InvalidFile(f"{name}: is not a Parquet file, in spite of its name")
    if by_name:
        return by_name
    return "jsonl" if _OBJECT.match(start.removeprefix(codecs.BOM_UTF8)) else "csv"
