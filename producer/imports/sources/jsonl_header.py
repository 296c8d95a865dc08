"""The front of JSON Lines: the keys that their first records have."""

import codecs
import re
from collections.abc import Iterable, Iterator

import msgspec

from orderworks.core.errors import InvalidFile
from producer.imports.sources.csv_header import SourceHeader
from producer.imports.sources.text_stream import first_blocks

HEADER_SCAN_BYTES = 256 << 10
"""Bytes of the first records whose keys are the header, and always one whole record."""

_ARRAY = re.compile(rb"\[\s*\{")

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_jsonl_header(name: str, blocks: Iterator[bytes]) -> tuple[SourceHeader, list[bytes]]:
    """The front of JSON Lines, and the blocks that were taken to find out.

    Lines that cannot be read are passed over: a worker rejects them.

    Raises:
        InvalidFile: none of the lines looked at is a JSON object, or they are parts of an array.
    """
    seen = first_blocks(blocks, HEADER_SCAN_BYTES)
    while b"\n" not in seen[-1] and (more := next(blocks, None)):
        seen.append(more)
    start = b"".join(seen)
    bom = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
    text = start[bom:].lstrip()
    # In an array written over many lines, the last object would look like a line of its own.
    if _ARRAY.match(text):
        raise InvalidFile(f"{name}: is one JSON array; write its objects one a line, without it")
    header = _keys(text.split(b"\n"))
    if not header:
        raise InvalidFile(
            f"{name}: none of its first lines is a JSON object with keys; write one object a line"
        )
    return SourceHeader("", header, bom, 1), seen


def _keys(lines: Iterable[bytes]) -> tuple[str, ...]:
    """All keys of the records, in order of first appearance."""
    keys: dict[str, None] = {}
    for line in lines:
        keys.update(dict.fromkeys(_keys_of(line)))
    return tuple(keys)


def _keys_of(line: bytes) -> Iterable[str]:
    try:
        return _OBJECT.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
