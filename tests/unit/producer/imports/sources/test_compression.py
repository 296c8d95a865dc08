"""Packed files: unpacked as they stream, refused where they are damaged or a bomb."""

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

Pack = Callable[[bytes], bytes]


def zstd_with_sums(content: bytes) -> bytes:
    """Packed as the command does it: Python's own way leaves the sums out."""
    options = {int(zstd.CompressionParameter.checksum_flag): 1}
    return zstd.compress(content, options=options)


both = pytest.mark.parametrize("pack", [gzip.compress, zstd_with_sums], ids=["gzip", "zstd"])


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
        self.given = 0
        self._file = io.BytesIO(content)

    def read(self, size: int, /) -> bytes:
        """Some bytes, or none at the end."""
        block = self._file.read(size)
        self.given += len(block)
        return block


@both
def test_packed_file_is_its_content_whatever_it_is_called(pack: Pack, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(pack(TEXT))
    assert read(path) == read(pack(TEXT)) == read(Counted(pack(TEXT))) == TEXT
    path.with_suffix(".csv.gz").write_bytes(TEXT)
    assert read(path.with_suffix(".csv.gz")) == TEXT


@both
def test_parts_packed_one_after_the_other_are_one_file(pack: Pack) -> None:
    parts = [TEXT[:1], b"", TEXT[1:500_000], TEXT[500_000:]]
    assert read(b"".join(map(pack, parts))) == TEXT


def test_frames_that_zstd_skips_are_skipped() -> None:
    skipped = b"\x50\x2a\x4d\x18" + struct.pack("<I", 3) + b"abc"
    assert read(skipped + zstd.compress(TEXT)) == TEXT


@both
@pytest.mark.parametrize("kept", [12, 1000, -1])
def test_packed_file_that_is_cut_off_is_refused(pack: Pack, kept: int) -> None:
    assert refusal(pack(TEXT)[:kept]).endswith(" data are truncated")


@both
def test_damaged_packed_file_is_refused(pack: Pack) -> None:
    packed = bytearray(pack(TEXT))
    packed[len(packed) // 2] ^= 0xFF
    assert " data are damaged: " in refusal(bytes(packed))
    assert " data are damaged: " in refusal(pack(TEXT) + b"garbage")


def test_file_packed_twice_is_refused() -> None:
    assert (
        refusal(gzip.compress(zstd.compress(TEXT)))
        == "bytes: is compressed twice, by gzip and zstd"
    )
    assert (
        refusal(zstd.compress(zstd.compress(TEXT)))
        == "bytes: is compressed twice, by zstd and zstd"
    )


def bomb(pack: Pack) -> bytes:
    """A file of 19 GiB of lines, made of equal packed parts."""
    return pack(b"id,name\n") + pack(b"1,Ann\n" * (4 << 20)) * 800


@both
def test_bomb_is_refused_after_a_few_bytes_of_it(pack: Pack) -> None:
    packed = bomb(pack)
    file, given = Counted(packed), [0]

    def read_on() -> None:
        with open_source(file, None, LIMITS) as opened:
            for block in opened.blocks:
                assert len(block) <= BLOCK
                given[0] += len(block)

    with pytest.raises(InvalidFile, match="more than 200 times its size .*IMPORT_MAX_RATIO"):
        read_on()
    assert MIN_BYTES_FOR_RATIO - BLOCK <= given[0] <= max(MIN_BYTES_FOR_RATIO, 200 * file.given)
    assert file.given < len(packed) / 2


@both
def test_unpacked_bytes_are_limited_too(pack: Pack) -> None:
    limits = LIMITS._replace(max_unpacked_bytes=3 << 20, max_ratio=10_000)
    assert "IMPORT_MAX_UNPACKED_BYTES" in refusal(bomb(pack), limits)
    assert "IMPORT_MAX_BYTES" in refusal(pack(TEXT), LIMITS._replace(max_bytes=1000))


@both
def test_small_file_may_be_packed_very_well(pack: Pack) -> None:
    text = b"id,name\n" + b"1,Ann\n" * (2 << 20)
    packed = pack(text)
    assert len(text) > 200 * len(packed)
    assert read(packed) == text


def test_zstd_that_takes_too_much_memory_is_refused() -> None:
    options = {int(zstd.CompressionParameter.window_log): 28}
    packer = zstd.ZstdCompressor(options=options)
    packed = packer.compress(TEXT) + packer.flush()
    assert "zstd data are damaged" in refusal(packed)


def test_gzip_with_wrong_sum_is_refused() -> None:
    packed = gzip.compress(TEXT)
    wrong = struct.pack("<I", zlib.crc32(TEXT) ^ 1)
    assert "CRC check failed" in refusal(packed[:-8] + wrong + packed[-4:])
