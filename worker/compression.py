"""Limits the size of compressed messages: a few bytes can unpack to more than the memory holds."""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Any

from kombu import compression

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_BYTES = 64 << 20
"""Bytes that a message may unpack to: thousands of updates take some hundred thousand."""

DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "gzip": zlib.decompressobj,
    "bzip2": bz2.BZ2Decompressor,
    "lzma": lzma.LZMADecompressor,
    "zstd": zstd.ZstdDecompressor,
}
"""Compressions of kombu by name, with a function that makes an object to unpack one message."""


def connect() -> None:
    """Have kombu unpack messages with the limit in this process."""
    for name, make in DECOMPRESSORS.items():
        encoder: Any = compression.get_encoder(name)
        encode, content_type = encoder
        compression.register(encode, _limited(make), content_type)


def _limited(make: Callable[[], Any]) -> Callable[[bytes], bytes]:
    def decompress(content: bytes) -> bytes:
        decompressor = make()
        unpacked: bytes = decompressor.decompress(content, MAX_BYTES)
        if not decompressor.eof:
            raise ValueError(f"it is cut off, or unpacks to more than {MAX_BYTES:,} bytes")
        return unpacked

    return decompress
