"""How much a producer may hand over."""

from typing import NamedTuple

from orderworks.core.errors import InvalidFile
from orderworks.core.settings import Settings

MIN_BYTES_FOR_RATIO = 16 << 20
"""Unpacked bytes from which on the ratio counts: small honest files may be packed very well."""


class SourceLimits(NamedTuple):
    """What a source may have at the most.

    Attributes:
        max_bytes: bytes as they are handed over, packed or not.
        max_unpacked_bytes: bytes of the text that they hold.
        max_ratio: bytes of text for each byte handed over.
        max_columns: columns of the header.
    """

    max_bytes: int
    max_unpacked_bytes: int
    max_ratio: float
    max_columns: int


def limits_of(settings: Settings) -> SourceLimits:
    """The limits that the settings set."""
    return SourceLimits(
        settings.import_max_bytes,
        settings.import_max_unpacked_bytes,
        settings.import_max_ratio,
        settings.import_max_columns,
    )


def check_source_bytes(name: str, source_bytes: int, limits: SourceLimits) -> None:
    """Raise InvalidFile if more bytes are handed over than may be."""
    if source_bytes > limits.max_bytes:
        most = limits.max_bytes
        raise InvalidFile(f"{name}: is larger than {most} bytes (the setting IMPORT_MAX_BYTES)")


def check_text_bytes(
    name: str, text_bytes: int, source_bytes: int | None, limits: SourceLimits
) -> None:
    """Raise InvalidFile if the text is longer than it may be, also for the bytes it came from."""
    if text_bytes > limits.max_unpacked_bytes:
        most = limits.max_unpacked_bytes
        raise InvalidFile(
            f"{name}: holds more than {most} bytes of text (the setting IMPORT_MAX_UNPACKED_BYTES)"
        )
    if source_bytes is not None and text_bytes > max(
        MIN_BYTES_FOR_RATIO, limits.max_ratio * source_bytes
    ):
        raise InvalidFile(
            f"{name}: unpacks to more than {limits.max_ratio:g} times its size "
            "(the setting IMPORT_MAX_RATIO)"
        )


def check_column_count(name: str, columns: int, limits: SourceLimits) -> None:
    """Raise InvalidFile if there are more columns than may be."""
    if columns > limits.max_columns:
        most = limits.max_columns
        raise InvalidFile(f"{name}: has more than {most} columns (the setting IMPORT_MAX_COLUMNS)")
