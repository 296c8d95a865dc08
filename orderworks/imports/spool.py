"""The spool: accepted files until their import has ended, in a folder or an object store, by URL.

A file's manifest is written after its data: a file with a manifest is complete and accepted. The
manifest is deleted once the import is in the ledger, so those that exist are of imports not planned yet.

A killed producer leaves files in a folder, which `list_stored_before` finds and `delete_data` deletes;
in an object store, it leaves an incomplete multipart upload, which is not listed. A lifecycle rule of
the bucket has to delete those.

The object store's client runs threads, which do not exist in forked processes: a process that forks
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
"""Bytes of a stream that are requested at a time: enough that a store's latency matters little."""

REQUEST_SECONDS = 30
"""Longest time of a request to an object store, including its retries and its response."""

UPLOAD_PARTS = 4
"""Parts of 5 MiB that an upload sends, and holds in memory, at a time. 12, the client's default, are no
faster where bandwidth is the limit; each would have a twelfth of it until its timeout."""

_ID = "[A-Za-z0-9-]{1,64}"
_DATA = re.compile(rf"data/({_ID})")
_MANIFEST = re.compile(rf"manifests/({_ID})\.json")
_PART = re.compile(rf"(?:data/|manifests/)({_ID})(?:\.json)?#[0-9]+")
"""Names of files in a local spool while they are written."""


class Spool:
    """A spool at a URL. Connects, or creates the local folder, on first use.

    Every method raises `Unavailable`, naming the spool, if it cannot be reached; and `ImportNotFound`
    for an id of another form than ours, so that no message can name a file outside of the spool.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._store: ObjectStore | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The configured spool."""
        return cls(settings.spool)

    def upload(self, import_id: str, blocks: Iterable[bytes]) -> tuple[int, str]:
        """Store the data of an import; return their size in bytes and their SHA-256.

        If the iteration over the blocks raises, nothing is stored.
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
        """Write the manifest: then the import is accepted."""
        with self._reachable_store() as store:
            obstore.put(store, _manifest(manifest.id), msgspec.json.encode(manifest))
            self._make_durable(_manifest(manifest.id))

    def list_waiting(self) -> list[str]:
        """List the ids of imports that are accepted and not planned, oldest first."""
        with self._reachable_store() as store:
            objects = [meta for batch in obstore.list(store, "manifests") for meta in batch]
        # Object stores may have times of whole seconds; ids begin with their time.
        objects.sort(key=lambda meta: (meta["last_modified"], meta["path"]))
        return [match[1] for meta in objects if (match := _MANIFEST.fullmatch(meta["path"]))]

    def list_stored_before(self, moment: datetime) -> list[str]:
        """List the ids of imports whose data, complete or not, were stored before `moment`."""
        with self._reachable_store() as store:
            objects = [meta for batch in obstore.list(store, "data") for meta in batch]
            parts = {import_id for import_id, file in self._parts() if _is_older(file, moment)}
        old = [meta["path"] for meta in objects if meta["last_modified"] < moment]
        return sorted(parts | {match[1] for path in old if (match := _DATA.fullmatch(path))})

    def manifest(self, import_id: str) -> Manifest | None:
        """Return the manifest, or None if the import was never accepted or is planned already.

        Raises:
            ImportFailed: it cannot be decoded; it is moved to `damaged/`.
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
        """Delete the manifest, if it exists."""
        self._delete(_manifest(import_id))

    def delete_data(self, import_id: str) -> None:
        """Delete the data, complete or not, if they exist."""
        self._delete(_data(import_id))
        with self._reachable_store():
            for owner, file in self._parts():
                if owner == import_id:
                    file.unlink(missing_ok=True)

    def size(self, import_id: str) -> int:
        """Return the size of the data in bytes.

        Raises:
            DataMissing: the data do not exist.
        """
        with self._data_of(import_id) as store:
            return obstore.head(store, _data(import_id))["size"]

    def read(self, import_id: str, start: int, end: int) -> bytes:
        """Return the data from byte `start` up to, without, byte `end`.

        Raises:
            DataMissing: the data do not exist.
        """
        with self._data_of(import_id) as store:
            return obstore.get_range(store, _data(import_id), start=start, end=end).to_bytes()

    def stream(self, import_id: str) -> Iterator[bytes]:
        """Yield all of the data, in blocks.

        Raises:
            DataMissing: the data do not exist.
        """
        size = self.size(import_id)
        # One request for all would reach its timeout while the reader still processes blocks.
        for start in range(0, size, STREAM_REQUEST):
            content = self.read(import_id, start, min(start + STREAM_REQUEST, size))
            for block in range(0, len(content), STREAM_BLOCK):
                yield content[block : block + STREAM_BLOCK]

    def _quarantine_manifest(self, import_id: str) -> None:
        """Move a damaged manifest to where an operator can read it and no sweep finds it again."""
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
        """The store, for reading data that must exist: a missing file becomes `DataMissing`."""
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
        """The URL without its password."""
        return _redacted(self._url)

    def _make_durable(self, path: str) -> None:
        """Flush a file of a local spool to disk; object stores have no need of it."""
        if folder := self._folder():
            for target in (folder / path, (folder / path).parent):
                descriptor = os.open(target, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def _parts(self) -> Iterator[tuple[str, Path]]:
        """Yield incomplete files of a local spool, with the id of their import.

        The store's client writes them, and neither lists nor deletes them.
        """
        if folder := self._folder():
            for file in folder.glob("*/*#*"):
                if match := _PART.fullmatch(file.relative_to(folder).as_posix()):
                    yield match[1], file

    def _folder(self) -> Path | None:
        """The folder of a local spool; None for an object store."""
        if isinstance(self._store, LocalStore):
            return Path(unquote(urlsplit(self._url).path))
        return None


_first_user: list[int] = []


def _refuse_after_fork() -> None:
    """Raise where the client would wait without a limit for threads that exist in the parent only."""
    _first_user[:] = _first_user or [os.getpid()]
    if _first_user != [os.getpid()]:
        raise ConfigurationError(
            "The spool was used before this process was forked: use it in the forked processes only"
        )


def _redacted(url: str) -> str:
    """Return the URL without parts that may be secret."""
    # Without `://`, the whole text may be what should follow it.
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    if ":" in rest.partition("@")[0]:
        # An unescaped password may contain the characters that end a host, so no URL parser is used.
        rest = rest.rpartition("@")[2]
    return scheme + separator + re.split("[?#]", rest, maxsplit=1)[0]


def _open_store(url: str) -> ObjectStore:
    if url.lower().startswith("file:"):
        return from_url(url, mkdir=True)
    try:
        return from_url(
            url,
            # Plain HTTP is used only for an endpoint whose address begins with http.
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
        address, reason = _redacted(url), str(error).strip().partition("\n")[0]
        if address != url:
            # The reason may contain the URL or a part of it.
            reason = "is its scheme right, and its password escaped?"
        raise ConfigurationError(f"SPOOL_URL: {address} cannot be used: {reason}") from None


def _is_older(file: Path, moment: datetime) -> bool:
    try:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC) < moment
    except FileNotFoundError:
        # It was completed meanwhile.
        return False


def _data(import_id: str) -> str:
    return f"data/{_require_id(import_id)}"


def _manifest(import_id: str) -> str:
    return f"manifests/{_require_id(import_id)}.json"


def _require_id(import_id: str) -> str:
    if not re.fullmatch(_ID, import_id):
        raise ImportNotFound(f"there is no import {import_id!r}")
    return import_id
