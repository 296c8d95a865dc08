"""Cutting a file into chunks."""

from orderworks.imports.chunk_plan import ChunkLimits, FileChunk, plan_chunks
from orderworks.imports.csv_records import Splitter


def cut(content: bytes, lines: int, size: int = 1000) -> list[FileChunk]:
    return list(plan_chunks(Splitter(",").runs([content]), ChunkLimits(lines, size), 0, 1))


def test_chunks_are_contiguous() -> None:
    assert cut(b"a\nbb\nccc\n", 2) == [FileChunk(0, 0, 5, 1, 2), FileChunk(1, 5, 9, 3, 1)]


def test_chunks_are_limited_by_bytes() -> None:
    assert [chunk.end_byte for chunk in cut(b"aaaa\n" * 4, 100, size=11)] == [10, 20]


def test_record_beyond_the_limit_is_its_own_chunk() -> None:
    content = b'a\n"' + b"x\n" * 50 + b'"\nb\n'
    assert [chunk.rows for chunk in cut(content, 100, size=20)] == [1, 1, 1]


def test_blank_lines_count_as_lines_and_not_as_rows() -> None:
    chunks = cut(b"\n\na\n\r\nb\n\n", 3)
    assert [(chunk.first_line, chunk.rows) for chunk in chunks] == [(1, 1), (4, 1)]


def test_blank_lines_alone_make_no_chunk() -> None:
    assert cut(b"\n\r\n\n", 1) == []
