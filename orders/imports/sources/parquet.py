"""Parquet files, as far as they can be had without polars."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orders.errors import ConfigurationError
from orders.imports.sources.files import Ahead, Given, blocks_of
from orders.imports.sources.limits import Limits
from orders.imports.sources.text import bounded

MAGIC = b"PAR1"


@contextmanager
def copied(name: str, file: Ahead, given: Given, limits: Limits) -> Iterator[Path]:
    """A temporary copy of a file that may be readable only once: Parquet is read from its end.

    Raises:
        InvalidFile: it is more than it may be.
    """
    with tempfile.NamedTemporaryFile(suffix=".parquet") as copy:
        for block in bounded(name, blocks_of(file), given, limits):
            copy.write(block)
        copy.flush()
        yield Path(copy.name)


def parquet_text(name: str, path: Path, limits: Limits, delimiter: str) -> Iterator[bytes]:
    """A Parquet file as CSV.

    Raises:
        ConfigurationError: polars is not installed.
        InvalidFile: it is damaged, or larger than it may be.
    """
    try:
        from orders.imports.sources import polars_text  # noqa: PLC0415 - loads polars
    except ImportError:
        raise ConfigurationError(
            f"{name}: Parquet files are read by polars: install orderworks[parquet]"
        ) from None
    return polars_text.parquet_text(name, path, limits, delimiter)
