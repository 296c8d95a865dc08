"""A spool in a folder."""

import hashlib
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orders.errors import ConfigurationError, DataMissing, ImportFailed, Unavailable
from orders.imports.spool import Manifest, Spool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "spool here"


@pytest.fixture
def spool(folder: Path) -> Spool:
    return Spool(folder.as_uri())


def manifest(import_id: str = "one") -> Manifest:
    return Manifest(
        id=import_id,
        kind="orders",
        source="f.csv",
        mapping={"id": "id"},
        delimiter=",",
        header=["id"],
        data_start=3,
        data_line=2,
        bytes=10,
        sha256="",
        version=1 << 60,
        accepted_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    )


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_what_is_uploaded_is_measured_and_can_be_read(spool: Spool) -> None:
    content = os.urandom(12_000_000)
    parts = [content[start : start + 99_999] for start in range(0, len(content), 99_999)]
    assert spool.upload("one", parts) == (len(content), hashlib.sha256(content).hexdigest())
    assert spool.size("one") == len(content)
    assert spool.read("one", 5_000_000, 5_000_100) == content[5_000_000:5_000_100]
    assert b"".join(spool.stream("one")) == content


def test_upload_that_fails_leaves_nothing_behind(spool: Spool, folder: Path) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"x" * 20_000_000
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        spool.upload("one", blocks())
    assert files(folder) == []


def test_manifests_wait_until_they_are_withdrawn(spool: Spool) -> None:
    assert spool.waiting() == []
    assert spool.manifest("one") is None
    spool.announce(manifest())
    assert spool.waiting() == ["one"]
    assert spool.manifest("one") == manifest()
    spool.withdraw_manifest("one")
    spool.withdraw_manifest("one")
    assert spool.waiting() == []


def test_damaged_manifest_is_put_aside(spool: Spool, folder: Path) -> None:
    spool.announce(manifest())
    (folder / "manifests" / "one.json").write_bytes(b"{")
    with pytest.raises(ImportFailed, match="the manifest of import one is damaged"):
        spool.manifest("one")
    assert spool.waiting() == []
    assert files(folder) == ["one.json"]


def test_data_that_is_gone_is_missed_at_this_place_by_this_host(spool: Spool) -> None:
    spool.upload("one", [b"x"])
    spool.delete_data("one")
    spool.delete_data("one")
    for look in (
        spool.size,
        lambda name: list(spool.stream(name)),
        lambda name: spool.read(name, 0, 1),
    ):
        with pytest.raises(DataMissing, match="lacks the data of import one") as raised:
            look("one")
        assert f"{spool.address}, as {socket.gethostname()} sees it" in str(raised.value)


def test_spool_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match=r"The spool at file://.*/file/spool cannot be used"):
        Spool((tmp_path / "file" / "spool").as_uri()).waiting()


def test_spool_that_is_no_address_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigurationError, match="SPOOL_URL"):
        Spool("nonsense").waiting()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("s3://key:secret@bucket/x?token=1", "s3://bucket/x"),
        ("s3://key:se/cr#e?t@bucket/x", "s3://bucket/x"),
        ("s3://key:s@e/c:r@bucket", "s3://bucket"),
        ("https://host:9000/bucket/a", "https://host:9000/bucket/a"),
        ("file:///srv/me@work/spool", "file:///srv/me@work/spool"),
        ("s3://bucket/me@work", "s3://bucket/me@work"),
    ],
)
def test_password_of_a_spool_is_not_shown(url: str, address: str) -> None:
    assert Spool(url).address == address


def test_spool_used_before_a_fork_says_so_instead_of_hanging(spool: Spool) -> None:
    spool.waiting()
    child = os.fork()
    if child == 0:
        try:
            Spool(spool.address).waiting()
        except ConfigurationError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
