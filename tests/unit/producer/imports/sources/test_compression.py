"""Compressed files: decompressed while they are read, refused if damaged or a bomb."""

import gzip
import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from orderworks.core.errors import InvalidFile
from producer.imports.sources.files import BLOCK
from producer.imports.sources.limits import MIN_BYTES_FOR_RATIO, SourceLimits
from producer.imports.sources.open_source import ImportSource, open_source

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMITS = SourceLimits(1 << 30, 1 << 30, 200, 1000)
TEXT = b"id,name\n" + b"".join(b"%d,Ann\n" % number for number in range(100_000))

Compress = Callable[[bytes], bytes]


def zstd_with_sums(content: bytes) -> bytes:
    """Packed as the command does it: Python's own way leaves the sums out."""
    options = {int(zstd.CompressionParameter.checksum_flag): 1}
    return zstd.compress(content, options=options)


both = pytest.mark.parametrize("compress", [gzip.compress, zstd_with_sums], ids=["gzip", "zstd"])


def read(source: ImportSource, limits: SourceLimits = LIMITS) -> bytes:
    with open_source(source, None, limits) as opened:
        return b"".join(opened.blocks)


def refusal(source: ImportSource, limits: SourceLimits = LIMITS) -> str:
    with pytest.raises(InvalidFile) as raised:
        read(source, limits)
    return str(raised.value)


class Counted:
    """A file that can only be read on, and knows how much of it was read."""

    def __init__(self, content: bytes) -> None:
        self.count = 0
        self._file = io.BytesIO(content)

    def read(self, size: int, /) -> bytes:
        """Some bytes, or none at the end."""
        block = self._file.read(size)
        self.count += len(block)
        return block


@both
def test_compressed_file_of_any_name_is_decompressed(compress: Compress, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(compress(TEXT))
    assert read(path) == read(compress(TEXT)) == read(Counted(compress(TEXT))) == TEXT
    path.with_suffix(".csv.gz").write_bytes(TEXT)
    assert read(path.with_suffix(".csv.gz")) == TEXT


@both
def test_concatenated_compressed_members_are_one_file(compress: Compress) -> None:
    parts = [TEXT[:1], b"", TEXT[1:500_000], TEXT[500_000:]]
    assert read(b"".join(map(compress, parts))) == TEXT


def test_zstd_skippable_frames_are_skipped() -> None:
    skipped = b"\x50\x2a\x4d\x18" + struct.pack("<I", 3) + b"abc"
    assert read(skipped + zstd.compress(TEXT)) == TEXT


@both
@pytest.mark.parametrize("kept", [12, 1000, -1])
def test_truncated_compressed_file_is_refused(compress: Compress, kept: int) -> None:
    assert refusal(compress(TEXT)[:kept]).endswith(" data are truncated")


@both
def test_damaged_compressed_file_is_refused(compress: Compress) -> None:
    compressed = bytearray(compress(TEXT))
    compressed[len(compressed) // 2] ^= 0xFF
    assert " data are damaged: " in refusal(bytes(compressed))
    assert " data are damaged: " in refusal(compress(TEXT) + b"garbage")


def test_doubly_compressed_file_is_refused() -> None:
    assert (
        refusal(gzip.compress(zstd.compress(TEXT)))
        == "bytes: is compressed twice, by gzip and zstd"
    )
    assert (
        refusal(zstd.compress(zstd.compress(TEXT)))
        == "bytes: is compressed twice, by zstd and zstd"
    )


def bomb(compress: Compress) -> bytes:
    """A file of 19 GiB of lines, made of equal compressed parts."""
    return compress(b"id,name\n") + compress(b"1,Ann\n" * (4 << 20)) * 800


@both
def test_decompression_bomb_is_refused_early(compress: Compress) -> None:
    compressed = bomb(compress)
    file, read_bytes = Counted(compressed), [0]

    def read_on() -> None:
        with open_source(file, None, LIMITS) as opened:
            for block in opened.blocks:
                assert len(block) <= BLOCK
                read_bytes[0] += len(block)

    with pytest.raises(InvalidFile, match="more than 200 times its size .*IMPORT_MAX_RATIO"):
        read_on()
    assert (
        MIN_BYTES_FOR_RATIO - BLOCK <= read_bytes[0] <= max(MIN_BYTES_FOR_RATIO, 200 * file.count)
    )
    assert file.count < len(compressed) / 2


@both
def test_decompressed_bytes_are_limited(compress: Compress) -> None:
    limits = LIMITS._replace(max_unpacked_bytes=3 << 20, max_ratio=10_000)
    assert "IMPORT_MAX_UNPACKED_BYTES" in refusal(bomb(compress), limits)
    assert "IMPORT_MAX_BYTES" in refusal(compress(TEXT), LIMITS._replace(max_bytes=1000))


@both
def test_small_file_may_have_a_high_compression_ratio(compress: Compress) -> None:
    text = b"id,name\n" + b"1,Ann\n" * (2 << 20)
    compressed = compress(text)
    assert len(text) > 200 * len(compressed)
    assert read(compressed) == text


def test_zstd_with_too_large_window_is_refused() -> None:
    options = {int(zstd.CompressionParameter.window_log): 28}
    compressor = zstd.ZstdCompressor(options=options)
    compressed = compressor.compress(TEXT) + compressor.flush()
    assert "zstd data are damaged" in refusal(compressed)


def test_gzip_with_wrong_sum_is_refused() -> None:
    compressed = gzip.compress(TEXT)
    wrong = struct.pack("<I", zlib.crc32(TEXT) ^ 1)
    assert "CRC check failed" in refusal(compressed[:-8] + wrong + compressed[-4:])
