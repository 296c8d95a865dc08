"""Where accepted files wait: a folder or an object store, addressed by URL.

A file's manifest is written after its data, and last: what has a manifest is complete and accepted.
It is deleted once the import is in the ledger, so the manifests there are name what is not planned.

A killed producer leaves files in a folder, which `list_stored_before` finds and `delete_data` deletes;
in an object store, a multipart upload that nobody sees. The bucket's rule has to end those.

The object store's client runs threads, which a fork does not take along: a process that forks
workers must not use a spool before; its children may.
"""

import hashlib
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

import msgspec
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from orderworks.core.errors import (
    ConfigurationError,
    DataMissing,
    ImportFailed,
    ImportNotFound,
    Unavailable,
)
from orderworks.core.settings import Settings
from orderworks.imports.manifest import Manifest

STREAM_BLOCK = 1 << 20

STREAM_REQUEST = 8 << 20
"""Bytes of a stream that are asked for at a time: enough to make little of a store's latency."""

REQUEST_SECONDS = 30
"""The longest that a request to an object store may take, with its repetitions and its answer."""

UPLOAD_PARTS = 4
"""Parts of 5 MiB that an upload has on their way at a time, and in memory. 12, the client's default,
are no faster where the line is the limit, and then each has a twelfth of it until its time is up."""

_ID = "[A-Za-z0-9-]{1,64}"
_DATA = re.compile(rf"data/({_ID})")
_MANIFEST = re.compile(rf"manifests/({_ID})\.json")
_PART = re.compile(rf"(?:data/|manifests/)({_ID})(?:\.json)?#[0-9]+")
"""What a file of a local spool is called until all of it is there."""


class Spool:
    """A spool at a URL. Connects, and makes a local folder, on first use.

    Every method raises `Unavailable`, naming the spool, if it cannot be reached; and `ImportNotFound`
    for an id that cannot be one of ours, so that no message can name a file outside of the spool.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._store: ObjectStore | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The configured spool."""
        return cls(settings.spool)

    def upload(self, import_id: str, blocks: Iterable[bytes]) -> tuple[int, str]:
        """Store the data of an import; its size in bytes and SHA-256.

        If the blocks raise, nothing is left behind.
        """
        digest, size = hashlib.sha256(), 0

        def measured() -> Iterator[bytes]:
            nonlocal size
            for block in blocks:
                digest.update(block)
                size += len(block)
                yield block

        with self._reachable_store() as store:
            obstore.put(store, _data(import_id), measured(), max_concurrency=UPLOAD_PARTS)
            self._make_durable(_data(import_id))
        return size, digest.hexdigest()

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest: from here on the import is accepted."""
        with self._reachable_store() as store:
            obstore.put(store, _manifest(manifest.id), msgspec.json.encode(manifest))
            self._make_durable(_manifest(manifest.id))

    def list_waiting(self) -> list[str]:
        """The ids of imports that are accepted and not planned, oldest first."""
        with self._reachable_store() as store:
            objects = [meta for batch in obstore.list(store, "manifests") for meta in batch]
        # Object stores may tell the time in seconds; ids begin with theirs.
        objects.sort(key=lambda meta: (meta["last_modified"], meta["path"]))
        return [found[1] for meta in objects if (found := _MANIFEST.fullmatch(meta["path"]))]

    def list_stored_before(self, moment: datetime) -> list[str]:
        """The ids of imports of which data were stored before `moment`, also by a killed producer."""
        with self._reachable_store() as store:
            objects = [meta for batch in obstore.list(store, "data") for meta in batch]
            parts = {import_id for import_id, file in self._parts() if _is_older(file, moment)}
        old = [meta["path"] for meta in objects if meta["last_modified"] < moment]
        return sorted(parts | {found[1] for path in old if (found := _DATA.fullmatch(path))})

    def manifest(self, import_id: str) -> Manifest | None:
        """The manifest, or None if the import was never accepted or is planned already.

        Raises:
            ImportFailed: it is there and cannot be understood; it is put aside.
        """
        with self._reachable_store() as store:
            try:
                content = obstore.get(store, _manifest(import_id)).bytes().to_bytes()
            except FileNotFoundError:
                return None
        try:
            return msgspec.json.decode(content, type=Manifest)
        except msgspec.DecodeError as error:
            self._quarantine_manifest(import_id)
            raise ImportFailed(f"the manifest of import {import_id} is damaged: {error}") from None

    def withdraw_manifest(self, import_id: str) -> None:
        """Delete the manifest, if it is still there."""
        self._delete(_manifest(import_id))

    def delete_data(self, import_id: str) -> None:
        """Delete the data, and parts of them, if they are still there."""
        self._delete(_data(import_id))
        with self._reachable_store():
            for owner, file in self._parts():
                if owner == import_id:
                    file.unlink(missing_ok=True)

    def size(self, import_id: str) -> int:
        """The size of the data in bytes.

        Raises:
            DataMissing: it is not there.
        """
        with self._data_of(import_id) as store:
            return obstore.head(store, _data(import_id))["size"]

    def read(self, import_id: str, start: int, end: int) -> bytes:
        """The data from byte `start` up to, without, byte `end`.

        Raises:
            DataMissing: it is not there.
        """
        with self._data_of(import_id) as store:
            return obstore.get_range(store, _data(import_id), start=start, end=end).to_bytes()

    def stream(self, import_id: str) -> Iterator[bytes]:
        """All of the data, in blocks.

        Raises:
            DataMissing: it is not there.
        """
        size = self.size(import_id)
        # One request for all would end when its time is up, while its reader still works.
        for start in range(0, size, STREAM_REQUEST):
            content = self.read(import_id, start, min(start + STREAM_REQUEST, size))
            for block in range(0, len(content), STREAM_BLOCK):
                yield content[block : block + STREAM_BLOCK]

    def _quarantine_manifest(self, import_id: str) -> None:
        """Keep a damaged manifest for a person to see, where no sweep finds it again."""
        with self._reachable_store() as store:
            obstore.rename(store, _manifest(import_id), f"damaged/{import_id}.json")

    def _delete(self, path: str) -> None:
        with self._reachable_store() as store:
            try:
                obstore.delete(store, path)
            except FileNotFoundError:
                return

    @contextmanager
    def _data_of(self, import_id: str) -> Iterator[ObjectStore]:
        """The store, for reading data that must be there."""
        with self._reachable_store() as store:
            try:
                yield store
            except FileNotFoundError:
                raise DataMissing(
                    f"the spool at {self.address}, as {socket.gethostname()} sees it, "
                    f"lacks the data of import {import_id}"
                ) from None

    @contextmanager
    def _reachable_store(self) -> Iterator[ObjectStore]:
        """The store; its failures become `Unavailable`."""
        try:
            yield self._opened()
        except (OSError, BaseError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise Unavailable(f"The spool at {self.address} cannot be used: {reason}") from None

    def _opened(self) -> ObjectStore:
        _refuse_after_fork()
        if self._store is None:
            self._store = _open_store(self._url)
        return self._store

    @property
    def address(self) -> str:
        """The URL without a password."""
        return _shown(self._url)

    def _make_durable(self, path: str) -> None:
        """See that a file in a local spool survives a power cut; object stores do by themselves."""
        if folder := self._folder():
            for each in (folder / path, (folder / path).parent):
                descriptor = os.open(each, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def _parts(self) -> Iterator[tuple[str, Path]]:
        """Files of a local spool that are not whole, with their import's id.

        The store's client writes them, and neither lists nor deletes them.
        """
        if folder := self._folder():
            for file in folder.glob("*/*#*"):
                if found := _PART.fullmatch(file.relative_to(folder).as_posix()):
                    yield found[1], file

    def _folder(self) -> Path | None:
        """Where a local spool is."""
        if isinstance(self._store, LocalStore):
            return Path(unquote(urlsplit(self._url).path))
        return None


_first_user: list[int] = []


def _refuse_after_fork() -> None:
    """Raise where the client would wait for ever for its threads, which stayed in the parent."""
    _first_user[:] = _first_user or [os.getpid()]
    if _first_user != [os.getpid()]:
        raise ConfigurationError(
            "The spool was used before this process was forked: use it in the forked processes only"
        )


def _shown(url: str) -> str:
    """The URL without what may be secret in it."""
    # Where there is no `://`, all of it may be what follows that.
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    if ":" in rest.partition("@")[0]:
        # A password that should have been escaped may hold what ends a host: so no parser helps.
        rest = rest.rpartition("@")[2]
    return scheme + separator + re.split("[?#]", rest, maxsplit=1)[0]


def _open_store(url: str) -> ObjectStore:
    if url.lower().startswith("file:"):
        return from_url(url, mkdir=True)
    try:
        return from_url(
            url,
            # Plain HTTP is used only where the endpoint's own address says so.
            client_options={
                "connect_timeout": "5s",
                "timeout": f"{REQUEST_SECONDS}s",
                "allow_http": True,
            },
            retry_config={
                "max_retries": 3,
                "retry_timeout": timedelta(seconds=REQUEST_SECONDS),
            },
        )
    except (BaseError, ValueError) as error:
        shown, reason = _shown(url), str(error).strip().partition("\n")[0]
        if shown != url:
            # The reason may name the URL, whole or in part.
            reason = "is its scheme right, and its password escaped?"
        raise ConfigurationError(f"SPOOL_URL: {shown} cannot be used: {reason}") from None


def _is_older(file: Path, moment: datetime) -> bool:
    try:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC) < moment
    except FileNotFoundError:
        # It became whole meanwhile.
        return False


def _data(import_id: str) -> str:
    return f"data/{_checked(import_id)}"


def _manifest(import_id: str) -> str:
    return f"manifests/{_checked(import_id)}.json"


def _checked(import_id: str) -> str:
    if not re.fullmatch(_ID, import_id):
        raise ImportNotFound(f"there is no import {import_id!r}")
    return import_id
