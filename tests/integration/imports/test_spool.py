"""A spool in a folder, and one in a bucket: the same holds of both."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
import pytest
import sqlalchemy as sa
from obstore.store import ObjectStore, from_url

from orderworks.core.errors import (
    ConfigurationError,
    DataMissing,
    ImportFailed,
    ImportNotFound,
    Unavailable,
)
from orderworks.core.settings import Settings
from orderworks.imports import spool as spools
from orderworks.imports import spool_bucket
from orderworks.imports.manifest import Manifest
from orderworks.imports.spool import Spool
from orderworks.maintenance.retention import PurgeResult, purge_expired
from tests.support.processes import ROOT, eventually
from tests.support.s3 import Bucket

MIB = 1 << 20

NO_IDS = [
    "",
    ".",
    "..",
    "../../etc/passwd",
    "a/b",
    "/etc/passwd",
    "a\0b",
    "a\n",
    "one#1",
    "ä",
    "a" * 65,
]


@dataclass(frozen=True)
class Place:
    """The location of a spool, and access to its content for tests."""

    url: str
    unfinished: Callable[[], list[str]]
    """The remains of incomplete uploads."""

    @property
    def store(self) -> ObjectStore:
        """The content of the spool."""
        return from_url(self.url, client_options={"allow_http": True})

    @property
    def objects(self) -> list[str]:
        """The paths of all that is there and whole."""
        return sorted(each["path"] for each in obstore.list(self.store).collect())


@pytest.fixture
def spool_folder(tmp_path: Path) -> Path:
    made = tmp_path / "deep" / "spool here"
    made.mkdir(parents=True)
    return made


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, spool_folder: Path) -> Place:
    if request.param == "folder":
        return Place(spool_folder.as_uri(), lambda: parts(spool_folder))
    bucket: Bucket = request.getfixturevalue("bucket")
    return Place(f"s3://{bucket.name}/some/where", bucket.open_uploads)


@pytest.fixture
def spool(place: Place) -> Spool:
    return Spool(place.url)


def parts(spool_folder: Path) -> list[str]:
    return [path.name for path in spool_folder.rglob("*#*")]


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


UPLOAD_AND_MEASURE = """
import resource, sys
from orderworks.imports.spool import Spool

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

spool = Spool(sys.argv[1])
spool.upload("small", [b"x"])
before = most()
size, sha256 = spool.upload("large", (bytes([n]) * (1 << 20) for n in range(160)))
print(most() - before, size, sha256)
"""

UPLOAD_AND_DIE = """
import os, signal, sys
from orderworks.imports.spool import Spool

def blocks():
    for n in range(40):
        yield bytes(1 << 20)
    os.kill(os.getpid(), signal.SIGKILL)

Spool(sys.argv[1]).upload("one", blocks())
"""


FROZEN_AT = 20
"""The block at which the store stops taking any."""


@contextmanager
def going_on(pid: int) -> Iterator[None]:
    """Continue a process that the block stopped, even if the block fails."""
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def settled(value: Callable[[], int]) -> int:
    """The value once it has not changed for half a second."""
    last, since = value(), time.monotonic()

    def is_settled() -> bool:
        nonlocal last, since
        if value() != last:
            last, since = value(), time.monotonic()
        return time.monotonic() - since > 0.5

    eventually(is_settled, 20, "it keeps changing")
    return last


def kill_an_upload(url: str) -> None:
    """Kill a producer in the middle of its upload."""
    with pytest.raises(subprocess.CalledProcessError) as raised:
        run(UPLOAD_AND_DIE, url)
    assert raised.value.returncode == -signal.SIGKILL


def run(code: str, *arguments: str) -> str:
    """The output of a separate process."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


def test_upload_returns_size_and_hash_and_can_be_read(spool: Spool) -> None:
    content = os.urandom(20_000_000)
    blocks = [content[start : start + 99_999] for start in range(0, len(content), 99_999)]
    assert spool.upload("one", blocks) == (len(content), hashlib.sha256(content).hexdigest())
    assert spool.size("one") == len(content)
    assert spool.read("one", 5_000_000, 5_000_100) == content[5_000_000:5_000_100]
    assert b"".join(spool.stream("one")) == content
    assert max(len(block) for block in spool.stream("one")) == spools.STREAM_BLOCK


def test_empty_data_are_stored(spool: Spool) -> None:
    assert spool.upload("one", []) == (0, hashlib.sha256(b"").hexdigest())
    assert spool.size("one") == 0
    assert list(spool.stream("one")) == []


@pytest.mark.slow
def test_upload_of_any_size_uses_bounded_memory(place: Place) -> None:
    grown, size, sha256 = run(UPLOAD_AND_MEASURE, place.url).split()
    assert int(size) == 160 * MIB
    assert sha256 == hashlib.sha256(b"".join(bytes([n]) * MIB for n in range(160))).hexdigest()
    assert int(grown) < 45 * MIB


@pytest.mark.slow
def test_upload_waits_for_a_slow_store(bucket: Bucket) -> None:
    taken = 0

    def blocks() -> Iterator[bytes]:
        nonlocal taken
        for taken in range(1, 161):
            if taken == FROZEN_AT:
                os.kill(bucket.server.pid, signal.SIGSTOP)
            yield bytes(MIB)

    with ThreadPoolExecutor(1) as pool, going_on(bucket.server.pid):
        upload = pool.submit(Spool(f"s3://{bucket.name}").upload, "one", blocks())
        eventually(lambda: taken >= FROZEN_AT, 10, "nothing was taken")
        ahead = settled(lambda: taken) - FROZEN_AT
        os.kill(bucket.server.pid, signal.SIGCONT)
        assert upload.result(timeout=30)[0] == 160 * MIB
    assert 0 < ahead <= 30


def test_upload_that_fails_leaves_nothing_behind(spool: Spool, place: Place) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"x" * 40_000_000
        assert eventually(place.unfinished, 10, "nothing was sent yet")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        spool.upload("one", blocks())
    assert place.objects == []
    assert place.unfinished() == []


def test_killed_upload_stores_no_data(spool: Spool, place: Place) -> None:
    kill_an_upload(place.url)
    assert place.unfinished()
    assert place.objects == []
    assert spool.list_waiting() == []
    with pytest.raises(DataMissing):
        spool.size("one")


def test_partial_file_of_killed_upload_expires_with_its_age(
    spool_folder: Path, engine: sa.Engine, settings: Settings
) -> None:
    spool = Spool(spool_folder.as_uri())
    kill_an_upload(spool_folder.as_uri())
    (part,) = spool_folder.rglob("*#*")
    assert part.stat().st_size > MIB
    assert purge_expired(engine, spool, settings).files == 0
    os.utime(part, (time.time() - 8 * 86400,) * 2)
    assert purge_expired(engine, spool, settings) == PurgeResult(1, 0, 0)
    assert parts(spool_folder) == []


@pytest.mark.slow
def test_stream_may_take_longer_than_the_request_timeout(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_bucket, "REQUEST_SECONDS", 1)
    spool = Spool(place.url)
    spool.upload("one", [bytes(MIB)] * 40)
    blocks = spool.stream("one")
    read = len(next(blocks))
    start = time.monotonic()
    eventually(lambda: time.monotonic() > start + 1.2, 5)
    assert read + sum(len(block) for block in blocks) == 40 * MIB


def test_manifests_are_listed_until_withdrawn(spool: Spool) -> None:
    assert spool.list_waiting() == []
    assert spool.manifest("one") is None
    spool.write_manifest(manifest())
    assert spool.list_waiting() == ["one"]
    assert spool.manifest("one") == manifest()
    spool.withdraw_manifest("one")
    spool.withdraw_manifest("one")
    assert spool.list_waiting() == []


def test_waiting_imports_are_listed_in_acceptance_order(spool: Spool) -> None:
    ids = [f"20260102-03040{n}-00000000" for n in range(4)]
    for each in ids:
        spool.write_manifest(manifest(each))
    assert spool.list_waiting() == ids


def test_waiting_order_does_not_depend_on_the_id(spool_folder: Path) -> None:
    spool = Spool(spool_folder.as_uri())
    for each in ("a", "b"):
        spool.write_manifest(manifest(each))
    os.utime(spool_folder / "manifests" / "b.json", (time.time() - 60,) * 2)
    assert spool.list_waiting() == ["b", "a"]


def test_foreign_objects_are_neither_listed_nor_expired(spool: Spool, place: Place) -> None:
    strange = [
        "data/a b",
        "data/x/one",
        "manifests/a b.json",
        "manifests/one.txt",
        "manifests/x/y.json",
    ]
    for path in strange:
        obstore.put(place.store, path, b"{}")
    assert spool.list_waiting() == []
    assert spool.list_stored_before(datetime.now(UTC) + timedelta(days=1)) == []


def test_stored_before_lists_only_older_data(spool: Spool) -> None:
    now = datetime.now(UTC)
    for each in ("one", "two"):
        spool.upload(each, [b"x"])
    assert spool.list_stored_before(now + timedelta(minutes=1)) == ["one", "two"]
    assert spool.list_stored_before(now - timedelta(minutes=1)) == []


def test_damaged_manifest_is_moved_aside(spool: Spool, place: Place) -> None:
    spool.write_manifest(manifest())
    obstore.put(place.store, "manifests/one.json", b"{")
    with pytest.raises(ImportFailed, match="the manifest of import one is damaged"):
        spool.manifest("one")
    assert spool.list_waiting() == []
    assert place.objects == ["damaged/one.json"]


def test_missing_data_error_names_spool_and_host(spool: Spool) -> None:
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


@pytest.mark.parametrize("no_id", NO_IDS)
def test_malformed_id_raises_import_not_found(spool: Spool, place: Place, no_id: str) -> None:
    uses: list[Callable[[], object]] = [
        lambda: spool.upload(no_id, [b"x"]),
        lambda: spool.write_manifest(manifest(no_id)),
        lambda: spool.manifest(no_id),
        lambda: spool.withdraw_manifest(no_id),
        lambda: spool.delete_data(no_id),
        lambda: spool.size(no_id),
        lambda: spool.read(no_id, 0, 1),
        lambda: list(spool.stream(no_id)),
    ]
    for use in uses:
        with pytest.raises(ImportNotFound, match="there is no import"):
            use()
    assert place.objects == []


def test_unreachable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match=r"The spool at file://.*/file/spool cannot be used"):
        Spool((tmp_path / "file" / "spool").as_uri()).list_waiting()


def test_missing_bucket_is_named(bucket: Bucket) -> None:
    for use in (
        Spool("s3://nobody/x").list_waiting,
        lambda: Spool("s3://nobody/x").upload("one", [b"x"]),
    ):
        with pytest.raises(Unavailable, match="The spool at s3://nobody/x cannot be used"):
            use()


def test_unresponsive_object_store_is_named_in_time(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_bucket, "REQUEST_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        spool = Spool(f"s3://{bucket.name}")
        start = time.monotonic()
        with pytest.raises(Unavailable, match=f"The spool at s3://{bucket.name} cannot be used"):
            spool.upload("one", [b"x"])
        assert time.monotonic() - start < 8


def test_unavailable_object_store_is_named_without_its_password(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{gone.getsockname()[1]}")
    spool = Spool(f"s3://{bucket.name}")
    for use in (
        spool.list_waiting,
        lambda: spool.write_manifest(manifest()),
        lambda: spool.manifest("one"),
        lambda: spool.size("one"),
        lambda: list(spool.stream("one")),
        lambda: spool.delete_data("one"),
    ):
        with pytest.raises(Unavailable, match=f"The spool at s3://{bucket.name} ") as raised:
            use()
        assert "something secret" not in str(raised.value)


def test_invalid_spool_url_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="SPOOL_URL"):
        Spool("nonsense").list_waiting()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("s3://key:secret@bucket/x?token=1", "s3://bucket/x"),
        ("s3://key:se/cr#e?t@bucket/x", "s3://bucket/x"),
        ("s3://key:s@e/c:r@bucket", "s3://bucket"),
        ("s3://key:[secret@bucket", "s3://bucket"),
        ("https://host:9000/bucket/a", "https://host:9000/bucket/a"),
        ("file:///srv/me@work/spool", "file:///srv/me@work/spool"),
        ("s3://bucket/me@work", "s3://bucket/me@work"),
        ("s3:/key:secret@bucket", "bucket"),
    ],
)
def test_password_of_a_spool_is_not_shown(url: str, address: str) -> None:
    assert Spool(url).address == address


@pytest.mark.parametrize(
    "url",
    ["s4://key:secret@bucket", "s3:/key:secret@bucket", "key:secret@x"],
)
def test_password_in_invalid_spool_url_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SPOOL_URL") as raised:
        Spool(url).list_waiting()
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(Settings.load(spool_url=url))


def test_spool_used_before_a_fork_raises_instead_of_hanging(spool: Spool) -> None:
    spool.list_waiting()
    child = os.fork()
    if child == 0:
        try:
            Spool(spool.address).list_waiting()
        except ConfigurationError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
