"""Limits on the size of a source."""

from typing import NamedTuple

from orderworks.core.errors import InvalidFile
from orderworks.core.settings import Settings

MIN_BYTES_FOR_RATIO = 16 << 20
"""Bytes of text above which the ratio is checked: small files may well have a high ratio."""


class SourceLimits(NamedTuple):
    """Upper limits of a source.

    Attributes:
        max_bytes: bytes of the source, compressed or not.
        max_unpacked_bytes: bytes of its text, decompressed and as CSV or JSON Lines.
        max_ratio: bytes of text per byte of the source.
        max_columns: columns of the header.
    """

    max_bytes: int
    max_unpacked_bytes: int
    max_ratio: float
    max_columns: int


def limits_of(settings: Settings) -> SourceLimits:
    """Return the limits of the settings."""
    return SourceLimits(
        settings.import_max_bytes,
        settings.import_max_unpacked_bytes,
        settings.import_max_ratio,
        settings.import_max_columns,
    )


def check_source_bytes(name: str, source_bytes: int, limits: SourceLimits) -> None:
    """Raise InvalidFile if the source is larger than the limit."""
    if source_bytes > limits.max_bytes:
        limit = limits.max_bytes
        raise InvalidFile(f"{name}: is larger than {limit} bytes (the setting IMPORT_MAX_BYTES)")


def check_text_bytes(
    name: str, text_bytes: int, source_bytes: int | None, limits: SourceLimits
) -> None:
    """Raise InvalidFile if the text exceeds its limit, or the limit of its ratio to the source."""
    if text_bytes > limits.max_unpacked_bytes:
        limit = limits.max_unpacked_bytes
        raise InvalidFile(
            f"{name}: has more than {limit} bytes of text (the setting IMPORT_MAX_UNPACKED_BYTES)"
        )
    if source_bytes is not None and text_bytes > max(
        MIN_BYTES_FOR_RATIO, limits.max_ratio * source_bytes
    ):
        raise InvalidFile(
            f"{name}: decompresses to more than {limits.max_ratio:g} times its size "
            "(the setting IMPORT_MAX_RATIO)"
        )


def check_column_count(name: str, columns: int, limits: SourceLimits) -> None:
    """Raise InvalidFile if there are more columns than the limit."""
    if columns > limits.max_columns:
        limit = limits.max_columns
        raise InvalidFile(f"{name}: has more than {limit} columns (the setting IMPORT_MAX_COLUMNS)")
