"""The parts of reading Parquet files that need no polars."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orderworks.core.errors import ConfigurationError, Unavailable
from producer.imports.sources.files import CountedFile, PeekableFile, blocks_of
from producer.imports.sources.limits import SourceLimits
from producer.imports.sources.text_stream import bounded

MAGIC = b"PAR1"


@contextmanager
def temporary_copy(
    name: str, file: PeekableFile, counted: CountedFile, limits: SourceLimits
) -> Iterator[Path]:
    """Make a temporary copy of a file that may be readable only once: Parquet is read from its end.

    Raises:
        InvalidFile: it exceeds a limit.
        Unavailable: there is no room for a copy.
    """
    with tempfile.TemporaryDirectory(prefix="orderworks-") as folder:
        path = Path(folder) / "copy.parquet"
        _write(path, bounded(name, blocks_of(file), counted, limits))
        yield path


def _write(path: Path, blocks: Iterator[bytes]) -> None:
    try:
        with path.open("wb") as copy:
            copy.writelines(blocks)
    except OSError as error:
        raise Unavailable(f"{path}: cannot be written: {error.strerror}") from None


def parquet_text(name: str, path: Path, limits: SourceLimits, delimiter: str) -> Iterator[bytes]:
    """Yield a Parquet file as CSV.

    Raises:
        ConfigurationError: polars is not installed.
        InvalidFile: it is damaged or exceeds a limit.
    """
    try:
        from producer.imports.sources import polars_csv  # noqa: PLC0415 - loads polars
    except ImportError:
        raise ConfigurationError(
            f"{name}: Parquet files are read by polars: install orderworks[parquet]"
        ) from None
    return polars_csv.parquet_text(name, path, limits, delimiter)
