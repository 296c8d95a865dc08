"""Compressed messages are unpacked up to a limit."""

import pytest
from kombu.compression import compress, decompress

from worker import compression


@pytest.fixture(autouse=True)
def _limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "MAX_BYTES", 1000)
    compression.connect()


@pytest.mark.parametrize("name", compression.DECOMPRESSORS)
def test_message_is_unpacked_up_to_the_limit(name: str) -> None:
    packed, content_type = compress(b"x" * 1000, name)
    assert decompress(packed, content_type) == decompress(packed, name) == b"x" * 1000
    larger, _type = compress(b"x" * 1001, name)
    with pytest.raises(ValueError, match="more than 1,000 bytes"):
        decompress(larger, content_type)


@pytest.mark.parametrize("name", compression.DECOMPRESSORS)
def test_message_that_is_cut_off_is_refused(name: str) -> None:
    packed, _type = compress(b"some content", name)
    with pytest.raises(ValueError, match="cut off"):
        decompress(packed[:-1], name)
