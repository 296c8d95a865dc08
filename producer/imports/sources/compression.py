"""Files compressed by gzip or zstd, decompressed while they are read.

The compression is recognised by the first bytes of a file; its name does not matter.
"""

import gzip
import sys
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from orderworks.core.errors import InvalidFile
from producer.imports.sources.files import PeekableFile, Readable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WINDOW_LOG = 27
"""Decompression of zstd takes at most 2^27 bytes of memory, the default limit of its command too."""

GZIP_MARK = b"\x1f\x8b"
ZSTD_MARKS = {b"\x28\xb5\x2f\xfd", *(bytes([kind]) + b"\x2a\x4d\x18" for kind in range(0x50, 0x60))}
"""First bytes of a frame of data, or of a skippable one: parallel compressors begin with such."""


class Compression(NamedTuple):
    """A compression: its name, and the function that opens a file decompressed."""

    name: str
    open_decompressed: Callable[[Readable], Readable]


def decompressed(name: str, file: PeekableFile) -> PeekableFile:
    """Return the file decompressed; the same file if it is not compressed.

    Raises:
        InvalidFile: it is compressed twice. Reading raises it too, if the file is damaged.
    """
    outer = _find_compression(file.peek())
    if outer is None:
        return file
    content = PeekableFile(_DecompressedFile(name, outer, file))
    if inner := _find_compression(content.peek()):
        raise InvalidFile(f"{name}: is compressed twice, by {outer.name} and {inner.name}")
    return content


def _find_compression(start: bytes) -> Compression | None:
    if start.startswith(GZIP_MARK):
        return Compression("gzip", _open_gzip)
    if start[:4] in ZSTD_MARKS:
        return Compression("zstd", _open_zstd)
    return None


def _open_gzip(file: Readable) -> Readable:
    # Both classes only read, although their types require more of a file.
    untyped: Any = file
    return gzip.GzipFile(fileobj=untyped, mode="rb")


def _open_zstd(file: Readable) -> Readable:
    untyped: Any = file
    options = {int(zstd.DecompressionParameter.window_log_max): WINDOW_LOG}
    return zstd.ZstdFile(untyped, options=options)


class _DecompressedFile:
    """Reads the content of a compressed file."""

    def __init__(self, name: str, compression: Compression, file: Readable) -> None:
        self._name = name
        self._compression = compression
        self._file = compression.open_decompressed(file)

    def read(self, size: int, /) -> bytes:
        """Return some bytes, or none at the end."""
        try:
            return self._file.read(size)
        except EOFError:
            raise InvalidFile(
                f"{self._name}: its {self._compression.name} data are truncated"
            ) from None
        except (OSError, zlib.error, zstd.ZstdError) as error:
            raise InvalidFile(
                f"{self._name}: its {self._compression.name} data are damaged: {error}"
            ) from None
