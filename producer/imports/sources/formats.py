"""Which format a file has: by its name where that tells, else by its first bytes."""

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
"""How JSON Lines begin, and an array of objects, of which `read_jsonl_header` says what to do."""


def extension(name: str) -> str:
    """What the name ends in, such as `.csv`, when it says how the file is packed after that."""
    path = PurePath(name.lower())
    return (path.with_suffix("") if path.suffix in COMPRESSED_EXTENSIONS else path).suffix


def find_format(name: str, start: bytes) -> Literal["csv", "jsonl", "parquet"]:
    """The format of a file with that name and those first bytes.

    Raises:
        InvalidFile: the name promises Parquet and the content is something else.
    """
    if start.startswith(MAGIC):
        return "parquet"
    named = BY_EXTENSION.get(extension(name))
    if named == "parquet":
        raise InvalidFile(f"{name}: is not a Parquet file, although it is called one")
    if named:
        return named
    return "jsonl" if _OBJECT.match(start.removeprefix(codecs.BOM_UTF8)) else "csv"
