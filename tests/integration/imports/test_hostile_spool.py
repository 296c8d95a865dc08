"""Hostile files in a spool's folder: no link is followed, no pipe read, nothing is retried endlessly."""

import json
import logging
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import sqlalchemy as sa

from orderworks.core.errors import ImportFailed, Unavailable
from orderworks.imports import plan_attempt, spool_folder
from orderworks.imports.importer import Importer
from orderworks.imports.manifest import Manifest
from orderworks.imports.spool import MAX_MANIFEST_BYTES, Spool
from orderworks.imports.spool_folder import FolderStorage
from producer.imports.job import ImportJob
from tests.support.imports import SEVEN, summary_of
from tests.support.types import AcceptFile


@pytest.fixture
def folder(importer: Importer) -> Path:
    """The spool's folder."""
    return Path(urlsplit(importer.spool.address).path)


def edited(**members: Any) -> Callable[[dict[str, Any]], bytes]:  # noqa: ANN401 - any member
    """The manifest with other members."""
    return lambda manifest: json.dumps({**manifest, **members}).encode()


def deep(manifest: dict[str, Any]) -> bytes:
    """The manifest with a member that is ignored, and nested deeply."""
    return json.dumps(manifest).encode()[:-1] + b',"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], bytes], str]] = {
    "not UTF-8": (lambda _manifest: b'{"id":"\xff"}', "utf-8"),
    "not JSON": (lambda _manifest: b"{", "Input data was truncated"),
    "empty": (lambda _manifest: b"", "Input data was truncated"),
    "nested deeply": (deep, "nested too deeply"),
    "of another import": (edited(id="other"), "it is of import 'other'"),
    "of a path": (edited(id="../../../etc/passwd"), "it is of import"),
    "too many bytes": (edited(bytes=2**70), "<= 9223372036854775807"),
    "negative bytes": (edited(bytes=-1), ">= 0"),
    "version beyond a bigint": (edited(version=2**63), "<= 9223372036854775807"),
    "version with no room for lines": (edited(version=2**63 - 1), "version is too large"),
    "rejects beyond a bigint": (edited(max_rejects=2**63), "<= 9223372036854775807"),
    "data after its end": (edited(data_start=10**9), "data_start is beyond bytes"),
    "year 1": (edited(accepted_at="0001-01-01T00:00:00+14:00"), "accepted_at is in the year 1"),
    "year 9999": (edited(accepted_at="9999-12-31T23:59:59-14:00"), "accepted_at is in the year"),
    "too long": (lambda _manifest: b" " * (MAX_MANIFEST_BYTES + 1), "more than"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_manifest_is_set_aside_and_its_producer_sees_the_reason(
    importer: Importer,
    accept: AcceptFile,
    folder: Path,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damaged, reason = DAMAGES[damage]
    import_id = accept(SEVEN, "customers")
    file = folder / "manifests" / f"{import_id}.json"
    content = damaged(json.loads(file.read_bytes()))
    file.write_bytes(content)
    with caplog.at_level(logging.ERROR), pytest.raises(ImportFailed, match="is damaged"):
        importer.plan(import_id)
    assert importer.spool.list_waiting() == []
    assert importer.spool.list_damaged() == [import_id]
    assert (folder / "damaged" / f"{import_id}.json").read_bytes() == content
    assert f"manifest_set_aside import_id={import_id}" in caplog.text
    ended = ImportJob(import_id, importer.stream).wait(timeout=1)
    assert ended["status"] == "failed"
    assert reason in ended["error"]
    assert ended["error"] in caplog.text or reason in caplog.text


def link(path: Path) -> None:
    """A link to a file that workers can read."""
    path.symlink_to("/etc/passwd")


def listen(path: Path) -> None:
    """A socket, whose path may be short only."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)


def refuse_reads(path: Path) -> None:
    """Make a device."""
    if os.geteuid():
        # mknod needs CAP_MKNOD, and a folder cannot get a device in another way. The other four kinds
        # are tried by any user, and this one wherever root runs the tests.
        pytest.skip("only root can make a device")
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))


KINDS: dict[str, Callable[[Path], None]] = {
    "a symbolic link": link,
    "a named pipe": os.mkfifo,
    "a socket": listen,
    "a folder": Path.mkdir,
    "a device": refuse_reads,
}


@pytest.mark.parametrize("kind", KINDS)
def test_manifest_that_is_no_regular_file_is_set_aside(
    importer: Importer, accept: AcceptFile, folder: Path, kind: str
) -> None:
    import_id = accept(SEVEN, "customers")
    file = folder / "manifests" / f"{import_id}.json"
    file.unlink()
    KINDS[kind](file)
    assert importer.spool.list_waiting() == [import_id]
    with pytest.raises(ImportFailed, match=f"it is {kind}, not a regular file"):
        importer.plan(import_id)
    assert importer.spool.list_waiting() == []
    assert importer.spool.list_damaged() == [import_id]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dry_run", [False, True])
def test_import_whose_data_are_no_regular_file_fails_with_that_reason(
    importer: Importer, accept: AcceptFile, folder: Path, kind: str, *, dry_run: bool
) -> None:
    import_id = accept(SEVEN, "customers", dry_run=dry_run)
    replace_data(folder, import_id, kind)
    if dry_run:
        assert importer.plan(import_id) == []
    else:
        with pytest.raises(ImportFailed, match=f"it is {kind}, not a regular file"):
            importer.plan(import_id)
    ended = ImportJob(import_id, importer.stream).wait(timeout=1)
    assert ended["status"] == "failed"
    assert f"it is {kind}, not a regular file" in ended["error"]
    assert importer.spool.list_waiting() == []


@pytest.mark.parametrize("kind", KINDS)
def test_chunk_whose_data_become_no_regular_file_is_quarantined(
    importer: Importer, planned: str, folder: Path, kind: str
) -> None:
    replace_data(folder, planned, kind)
    with pytest.raises(ImportFailed, match=f"it is {kind}, not a regular file"):
        importer.load_chunk(planned, 0)
    assert summary_of(importer, planned)["quarantined"] == 1


def replace_data(folder: Path, import_id: str, kind: str) -> None:
    """Put something else where the data were."""
    file = folder / "data" / import_id
    file.unlink()
    KINDS[kind](file)


@pytest.mark.parametrize("part", ["data", "manifests"])
def test_folder_of_the_spool_that_is_a_link_is_not_followed(
    importer: Importer, accept: AcceptFile, folder: Path, part: str, tmp_path: Path
) -> None:
    import_id = accept(SEVEN, "customers")
    (folder / part).rename(tmp_path / "elsewhere")
    (folder / part).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match=f"{part} is a file or a link"):
        importer.plan(import_id)


def test_link_that_replaces_a_file_before_it_is_opened_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FolderStorage(tmp_path)
    storage.write("data/one", [b"ours"])
    require_regular, kinds = spool_folder._require_regular, list[str]()  # noqa: SLF001 - between check and open

    def check_and_replace(status: os.stat_result) -> None:
        require_regular(status)
        if not kinds:
            replace_data(tmp_path, "one", "a symbolic link")
        kinds.append("regular")

    monkeypatch.setattr(spool_folder, "_require_regular", check_and_replace)
    with pytest.raises(OSError, match="symbolic links"):
        storage.read("data/one", 0, 4)
    assert kinds == ["regular"], "it was opened"


def test_expired_link_is_deleted_and_not_its_target(
    importer: Importer, accept: AcceptFile, folder: Path, tmp_path: Path
) -> None:
    import_id = accept(SEVEN, "customers")
    (tmp_path / "target").write_bytes(b"x")
    (folder / "data" / import_id).unlink()
    (folder / "data" / import_id).symlink_to(tmp_path / "target")
    importer.spool.delete_data(import_id)
    assert not (folder / "data" / import_id).is_symlink()
    assert (tmp_path / "target").read_bytes() == b"x"


def test_second_damaged_manifest_of_an_id_replaces_no_first_one(
    importer: Importer, folder: Path
) -> None:
    manifests = folder / "manifests"
    for content in (b"{", b"["):
        manifests.mkdir(parents=True, exist_ok=True)
        (manifests / "one.json").write_bytes(content)
        with pytest.raises(ImportFailed):
            importer.plan("one")
    assert {file.read_bytes() for file in (folder / "damaged").iterdir()} == {b"{", b"["}
    assert importer.spool.list_damaged() == ["one", "one"]


def test_manifest_whose_failure_the_ledger_refuses_is_set_aside(
    importer: Importer, accept: AcceptFile
) -> None:
    with importer.engine.begin() as connection:
        refuse = "ALTER TABLE imports ADD CONSTRAINT refuse CHECK (source <> 'bytes') NOT VALID"
        connection.execute(sa.text(refuse))
    import_id = accept(SEVEN, "customers")
    for _start in range(plan_attempt.PLAN_ATTEMPTS):
        with pytest.raises(sa.exc.IntegrityError):
            importer.plan(import_id)
    with pytest.raises(ImportFailed, match="planning was given up after 3 starts"):
        importer.plan(import_id)
    assert importer.spool.list_waiting() == []
    assert importer.spool.list_damaged() == [import_id]
    ended = ImportJob(import_id, importer.stream).wait(timeout=1)
    assert (ended["status"], "the ledger refuses it" in ended["error"]) == ("failed", True)


@pytest.fixture
def usual_umask() -> object:
    """The umask of most shells, under which files are readable for all."""
    previous = os.umask(0o022)
    yield
    os.umask(previous)


@pytest.mark.usefixtures("usual_umask")
def test_folders_and_files_of_a_spool_are_private_for_any_umask(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    spool = Spool(folder.as_uri())
    spool.upload("one", [b"x"])
    spool.write_manifest(example("one"))
    assert modes(folder) == {
        ".": 0o700,
        "data": 0o700,
        "data/one": 0o600,
        "manifests": 0o700,
        "manifests/one.json": 0o600,
    }


@pytest.mark.usefixtures("usual_umask")
def test_existing_wider_folder_of_a_spool_is_made_private(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    (folder / "manifests").mkdir(parents=True)
    (folder / "manifests").chmod(0o777)
    Spool(folder.as_uri()).list_waiting()
    assert modes(folder) == {".": 0o700, "manifests": 0o700}


def modes(folder: Path) -> dict[str, int]:
    """The permissions of a folder and all in it."""
    paths = [folder, *folder.rglob("*")]
    return {str(each.relative_to(folder)): stat.S_IMODE(each.lstat().st_mode) for each in paths}


def example(import_id: str) -> Manifest:
    """A manifest with this id."""
    members = {
        "id": import_id,
        "kind": "orders",
        "source": "f.csv",
        "mapping": {"id": "id"},
        "delimiter": ",",
        "header": ["id"],
        "data_start": 3,
        "data_line": 2,
        "bytes": 10,
        "sha256": "",
        "version": 1 << 60,
        "accepted_at": "2026-01-02T03:04:05Z",
    }
    return msgspec.convert(members, Manifest)
