"""Parses a chunk of JSON Lines: an object a line, with its keys in any order."""

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import msgspec
import polars as pl

from orderworks.core.errors import ImportFailed
from orderworks.imports.columns import Field
from orderworks.imports.file_format import FileFormat
from orderworks.imports.loading.text_cells import (
    RawRecords,
    RecordFault,
    cleared_name,
    encoding_fault,
    field_name,
    gather_cells,
    is_utf8,
)

WRONG_TYPES: Mapping[type, str] = {
    bool: "is true or false",
    dict: "is an object",
    list: "is an array",
}
"""Types that a cell cannot have. A number with a point or an exponent is decoded as its text."""

NEGATIVE_ZERO = re.compile(rb"-0[\s,}]")
"""The only whole number whose spelling is lost when it is decoded."""


_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
LONE_SURROGATE = re.compile(b"%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))
"""Half a character, for which the decoder reports a truncated line, or something less clear."""


@dataclass
class Decoded:
    """The objects of a chunk, which have an attribute for each cell, and the faults of other lines."""

    lines: list[int] = field(default_factory=list)
    objects: list[Any] = field(default_factory=list)
    faults: list[RecordFault] = field(default_factory=list)


def parse_json_lines(
    data: bytes, first_line: int, file_format: FileFormat, fields: Sequence[Field]
) -> tuple[pl.DataFrame, RawRecords]:
    """The cells of the fields, and the records that they are from."""
    # Of two columns with the same key, the first is named if the value has the wrong type.
    columns = {index: column.name for column, index in reversed(fields)}
    clearable = {index for column, index in fields if column.clearable}
    keys = {index: file_format.header[index] for index in sorted(columns)}
    defaults = {index: msgspec.UNSET if index in clearable else None for index in keys}
    decoded = _decode(data, first_line, keys, defaults)
    wrong: dict[int, RecordFault] = {}
    cells = {"line": pl.Series(decoded.lines, dtype=pl.Int64)}
    for index in keys:
        values = list(map(attrgetter(field_name(index)), decoded.objects))
        kinds = set(map(type, values))
        if not kinds.isdisjoint(WRONG_TYPES):
            _add_wrong_type_faults(values, decoded.lines, columns[index], wrong)
        cells[field_name(index)] = pl.Series(_as_text(values, kinds), dtype=pl.String)
        if index in clearable and type(None) in kinds:
            cells[cleared_name(index)] = pl.Series([value is None for value in values])
    sound = pl.DataFrame(cells)
    if wrong:
        refused = pl.Series(list(wrong), dtype=pl.Int64)
        sound = sound.filter(~pl.col("line").is_in(refused.implode()))
    faults = [*decoded.faults, *wrong.values()]
    return gather_cells(list(keys), [sound], faults), RawRecords(data, first_line, {})


def _decode(
    data: bytes, first_line: int, keys: Mapping[int, str], defaults: Mapping[int, object]
) -> Decoded:
    """Decode the objects; an attribute has its default where the object lacks the key."""
    decoded, decode = Decoded(), _decoder(keys, object, defaults).decode
    add_object, add_line = decoded.objects.append, decoded.lines.append
    texts = data.split(b"\n")
    if codecs.BOM_UTF8 in data:
        # One file behind another has a mark of its own.
        texts = [
            text.removeprefix(codecs.BOM_UTF8) if text.rstrip(b"\r") != codecs.BOM_UTF8 else text
            for text in texts
        ]
    if not is_utf8(data):
        # The decoder does not check values of other keys.
        decoded.faults += _blank_unreadable(texts, first_line)
    for line, text in enumerate(texts, first_line):
        try:
            add_object(decode(text))
            add_line(line)
        except (msgspec.DecodeError, RecursionError) as error:
            if text.strip(b"\r"):
                decoded.faults.append(_bad_json(line, text, error))
    if NEGATIVE_ZERO.search(data):
        _restore_negative_zeros(decoded, texts, first_line, keys)
    return decoded


def _bad_json(line: int, text: bytes, error: Exception) -> RecordFault:
    lone = LONE_SURROGATE.search(text)
    why = f"{lone[0].decode()} is a lone surrogate" if lone else str(error)
    return RecordFault(
        line, "", "bad_json", f"the line is not a JSON object that can be read: {why}"
    )


def _decoder(
    keys: Mapping[int, str], kind: type, defaults: Mapping[int, object]
) -> msgspec.json.Decoder[Any]:
    """A decoder that reads the values of the keys as that type, and skips all others.

    Raises:
        ImportFailed: a key has a character that the decoder cannot match.
    """
    members = [
        (field_name(index), kind, msgspec.field(name=key, default=defaults[index]))
        for index, key in keys.items()
    ]
    try:
        # Thousands of objects at once, none in a cycle: the garbage collector need not see them.
        row = msgspec.defstruct("Row", members, gc=False)
    except ValueError as error:
        raise ImportFailed(f"a key cannot be mapped: {error}") from error
    return msgspec.json.Decoder(row, float_hook=str)


def _blank_unreadable(texts: list[bytes], first_line: int) -> list[RecordFault]:
    """The faults of the lines that are not UTF-8; `texts` gets empty lines in their place."""
    faults = []
    for index, text in enumerate(texts):
        if fault := encoding_fault(first_line + index, text):
            faults.append(fault)
            texts[index] = b""
    return faults


def _restore_negative_zeros(
    decoded: Decoded, texts: Sequence[bytes], first_line: int, keys: Mapping[int, str]
) -> None:
    decode = _decoder(keys, msgspec.Raw, dict.fromkeys(keys, msgspec.Raw(b""))).decode
    for line, row in zip(decoded.lines, decoded.objects, strict=True):
        text = texts[line - first_line]
        if NEGATIVE_ZERO.search(text):
            written = decode(text)
            for name in map(field_name, keys):
                if bytes(getattr(written, name)) == b"-0":
                    setattr(row, name, "-0")


def _add_wrong_type_faults(
    values: Sequence[object], lines: Sequence[int], column: str, wrong: dict[int, RecordFault]
) -> None:
    """Add the faults of values that a cell cannot have, unless an earlier column has one already."""
    for line, value in zip(lines, values, strict=True):
        if reason := WRONG_TYPES.get(type(value)):
            wrong.setdefault(line, RecordFault(line, column, "wrong_type", f"{column} {reason}"))


def _as_text(values: Sequence[object], kinds: set[type]) -> Sequence[object]:
    """The values as they were written; None for a null, and for a value that a cell cannot have."""
    if kinds <= {str, type(None)}:
        return values
    if kinds <= {str, int}:
        return list(map(str, values))
    return [str(value) if type(value) in {str, int} else None for value in values]
