"""Files packed by gzip or zstd, unpacked while they stream.

What a file is packed by is known by its first bytes, whatever its name says.
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
"""Unpacking zstd takes 2^27 bytes at the most, as much as its own command takes unasked."""

GZIP_MARK = b"\x1f\x8b"
ZSTD_MARKS = {b"\x28\xb5\x2f\xfd", *(bytes([kind]) + b"\x2a\x4d\x18" for kind in range(0x50, 0x60))}
"""A frame of data, or one that readers pass over: parallel packers begin with such."""


class Compression(NamedTuple):
    """A way to pack files: its name, and what reads one of them unpacked."""

    name: str
    open_decompressed: Callable[[Readable], Readable]


def decompressed(name: str, file: PeekableFile) -> PeekableFile:
    """The file as it was before it was packed; the same file if it is not.

    Raises:
        InvalidFile: it is packed twice. Reading raises it too, where the file is damaged.
    """
    packing = _find_compression(file.peek())
    if packing is None:
        return file
    inner = PeekableFile(_DecompressedFile(name, packing, file))
    if again := _find_compression(inner.peek()):
        raise InvalidFile(f"{name}: is packed twice, by {packing.name} and {again.name}")
    return inner


def _find_compression(start: bytes) -> Compression | None:
    if start.startswith(GZIP_MARK):
        return Compression("gzip", _open_gzip)
    if start[:4] in ZSTD_MARKS:
        return Compression("zstd", _open_zstd)
    return None


def _open_gzip(file: Readable) -> Readable:
    # Both classes only ever read, although their types ask for whole files.
    whole: Any = file
    return gzip.GzipFile(fileobj=whole, mode="rb")


def _open_zstd(file: Readable) -> Readable:
    whole: Any = file
    options = {int(zstd.DecompressionParameter.window_log_max): WINDOW_LOG}
    return zstd.ZstdFile(whole, options=options)


class _DecompressedFile:
    """Reads as the content of a packed file."""

    def __init__(self, name: str, packing: Compression, file: Readable) -> None:
        self._name = name
        self._packing = packing
        self._file = packing.open_decompressed(file)

    def read(self, size: int, /) -> bytes:
        """Some bytes, or none at the end."""
        try:
            return self._file.read(size)
        except EOFError:
            raise InvalidFile(f"{self._name}: its {self._packing.name} data are cut off") from None
        except (OSError, zlib.error, zstd.ZstdError) as error:
            raise InvalidFile(
                f"{self._name}: its {self._packing.name} data are damaged: {error}"
            ) from None
