"""The spool: accepted files until their import has ended, in a folder or an object store, by URL.

A file's manifest is written after its data: a file with a manifest is complete and accepted. The
manifest is deleted once the import is in the ledger, so those that exist are of imports not planned yet.

A killed producer leaves a part of its file in a folder, which `list_stored_before` finds and
`delete_data` deletes; in an object store, it leaves an incomplete multipart upload, which is not listed.
A lifecycle rule of the bucket has to delete those.

The object store's client runs threads, which do not exist in forked processes: a process that forks
workers must not use a spool before; its children may.
"""

import hashlib
import logging
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from obstore.exceptions import BaseError

from orderworks.core.errors import (
    ConfigurationError,
    DataMissing,
    ImportFailed,
    ImportNotFound,
    Unavailable,
)
from orderworks.core.settings import Settings
from orderworks.imports.keepalive import Keepalive, wait_alive
from orderworks.imports.manifest import Manifest, decode_manifest
from orderworks.imports.spool_bucket import BucketStorage
from orderworks.imports.spool_folder import FolderStorage, UnusableFile

log = logging.getLogger(__name__)

Storage = FolderStorage | BucketStorage
Answer = TypeVar("Answer")

STREAM_BLOCK = 1 << 20

STREAM_REQUEST = 8 << 20
"""Bytes of a stream that are requested at a time: enough that a store's latency matters little."""

MAX_MANIFEST_BYTES = 16 << 20
"""Bytes of a manifest, most of which are the names of columns."""

_ID = "[A-Za-z0-9-]{1,64}"
_DATA = re.compile(rf"data/({_ID})")
_MANIFEST = re.compile(rf"manifests/({_ID})\.json")
_DAMAGED = re.compile(rf"damaged/({_ID})\.json(?:\.[0-9]+)?")
_PART = re.compile(rf"(?:data/|manifests/)({_ID})(?:\.json)?#[0-9]+")
"""Names of files in a folder while they are written."""


class Spool:
    """A spool at a URL. Connects on first use; a folder is created by the first write.

    Every method raises `Unavailable`, naming the spool, if it cannot be reached; and `ImportNotFound`
    for an id of another form than ours, so that no message can name a file outside of the spool.
    """

    def __init__(
        self, url: str, storage: Storage | None = None, sign: Keepalive | None = None
    ) -> None:
        """`storage` and `sign` are those of `kept_alive`."""
        self._url = url
        self._storage = storage
        self._sign = sign

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The configured spool."""
        return cls(settings.spool)

    def kept_alive(self, sign: Keepalive) -> Self:
        """The same spool; `sign` is called often while it is read and does not answer."""
        return type(self)(self._url, self._opened(), sign)

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

        path = _data(import_id)
        self._ask(lambda storage: storage.write(path, measured()))
        return size, digest.hexdigest()

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest: then the import is accepted."""
        path, content = _manifest(manifest.id), msgspec.json.encode(manifest)
        self._ask(lambda storage: storage.write(path, [content]))

    def list_waiting(self) -> list[str]:
        """List the ids of imports that are accepted and not planned, oldest first."""
        files = self._ask(lambda storage: storage.entries("manifests"))
        # Object stores may have times of whole seconds; ids begin with their time.
        files.sort(key=lambda file: (file.modified, file.path))
        return [match[1] for file in files if (match := _MANIFEST.fullmatch(file.path))]

    def list_damaged(self) -> list[str]:
        """List the ids of imports whose manifests were set aside, in order."""
        files = self._ask(lambda storage: storage.entries("damaged"))
        return sorted(match[1] for file in files if (match := _DAMAGED.fullmatch(file.path)))

    def list_stored_before(self, moment: datetime) -> list[str]:
        """List the ids of imports whose data, complete or not, were stored before `moment`."""
        files = self._ask(lambda storage: [*storage.entries("data"), *storage.parts()])
        old = [file.path for file in files if file.modified < moment and not file.is_folder]
        matches = (_DATA.fullmatch(path) or _PART.fullmatch(path) for path in old)
        return sorted({match[1] for match in matches if match})

    def manifest(self, import_id: str) -> Manifest | None:
        """Return the manifest, or None if the import was never accepted or is planned already.

        Raises:
            ImportFailed: it cannot be read or understood; it is set aside.
        """
        path = _manifest(import_id)
        try:
            content = self._find(lambda storage: storage.read_all(path, MAX_MANIFEST_BYTES))
            return decode_manifest(content, import_id)
        except FileNotFoundError:
            return None
        except (UnusableFile, ValueError) as error:
            self.set_aside(import_id, str(error))
            raise ImportFailed(f"the manifest of import {import_id} is damaged: {error}") from None

    def set_aside(self, import_id: str, reason: str) -> None:
        """Move a manifest to where an operator can read it and no sweep finds it again; log that."""
        path = _manifest(import_id)
        try:
            moved = self._find(lambda storage: storage.move(path, f"damaged/{import_id}.json"))
        except FileNotFoundError:
            return  # Another process has moved it.
        log.error("manifest_set_aside import_id=%s to=%s reason=%s", import_id, moved, reason)

    def withdraw_manifest(self, import_id: str) -> None:
        """Delete the manifest, if it exists."""
        path = _manifest(import_id)
        self._ask(lambda storage: storage.delete(path))

    def delete_data(self, import_id: str) -> None:
        """Delete the data, complete or not, if they exist."""
        path = _data(import_id)
        self._ask(lambda storage: storage.delete(path))
        for part in self._ask(lambda storage: storage.parts()):
            if (match := _PART.fullmatch(part.path)) and match[1] == import_id:
                self._ask(partial(_delete, path=part.path))

    def size(self, import_id: str) -> int:
        """Return the size of the data in bytes.

        Raises:
            DataMissing: the data do not exist.
            ImportFailed: they are not a regular file.
        """
        path = _data(import_id)
        with self._existing_data(import_id):
            return self._find(lambda storage: storage.size(path))

    def read(self, import_id: str, start: int, end: int) -> bytes:
        """Return the data from byte `start` up to, without, byte `end`.

        Raises:
            DataMissing: the data do not exist.
            ImportFailed: they are not a regular file.
        """
        path = _data(import_id)
        with self._existing_data(import_id):
            return self._find(lambda storage: storage.read(path, start, end))

    def stream(self, import_id: str) -> Iterator[bytes]:
        """Yield all of the data, in blocks.

        Raises:
            DataMissing: the data do not exist.
            ImportFailed: they are not a regular file.
        """
        size = self.size(import_id)
        # One request for all would reach its timeout while the reader still processes blocks.
        for start in range(0, size, STREAM_REQUEST):
            content = self.read(import_id, start, min(start + STREAM_REQUEST, size))
            for block in range(0, len(content), STREAM_BLOCK):
                yield content[block : block + STREAM_BLOCK]
                if self._sign:
                    self._sign()

    @property
    def address(self) -> str:
        """The URL without its password."""
        return _redacted(self._url)

    @contextmanager
    def _existing_data(self, import_id: str) -> Iterator[None]:
        """For reading data that must exist, as a regular file."""
        try:
            yield
        except FileNotFoundError:
            raise DataMissing(
                f"the spool at {self.address}, as {socket.gethostname()} sees it, "
                f"lacks the data of import {import_id}"
            ) from None
        except UnusableFile as error:
            raise ImportFailed(f"the data of import {import_id} cannot be used: {error}") from None

    def _ask(self, request: Callable[[Storage], Answer]) -> Answer:
        """Return the storage's answer; its failures become `Unavailable`."""
        try:
            return self._find(request)
        except FileNotFoundError as error:
            raise self._unavailable(error) from None

    def _find(self, request: Callable[[Storage], Answer]) -> Answer:
        """Do the same for a file that may be missing: then `FileNotFoundError` is raised."""
        try:
            storage = self._opened()
            if self._sign:
                return wait_alive(partial(request, storage), self._sign)
            return request(storage)
        except FileNotFoundError:
            raise
        except (OSError, BaseError) as error:
            raise self._unavailable(error) from None

    def _unavailable(self, error: Exception) -> Unavailable:
        reason = str(error).strip().partition("\n")[0]
        return Unavailable(f"The spool at {self.address} cannot be used: {reason}")

    def _opened(self) -> Storage:
        _refuse_after_fork()
        if self._storage is None:
            self._storage = _open_storage(self._url)
        return self._storage


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


def _open_storage(url: str) -> Storage:
    address = urlsplit(url) if url.lower().startswith("file:") else None
    if address is None:
        return _open_bucket(url)
    if address.netloc not in ("", "localhost") or not address.path.startswith("/"):
        raise ConfigurationError(f"SPOOL_URL: {url} is no folder: give it as file:///path")
    return FolderStorage(Path(unquote(address.path)))


def _open_bucket(url: str) -> BucketStorage:
    try:
        return BucketStorage(url)
    except (BaseError, ValueError) as error:
        address, reason = _redacted(url), str(error).strip().partition("\n")[0]
        if address != url:
            # The reason may contain the URL or a part of it.
            reason = "is its scheme right, and its password escaped?"
        raise ConfigurationError(f"SPOOL_URL: {address} cannot be used: {reason}") from None


def _delete(storage: Storage, path: str) -> None:
    storage.delete(path)


def _data(import_id: str) -> str:
    return f"data/{require_id(import_id)}"


def _manifest(import_id: str) -> str:
    return f"manifests/{require_id(import_id)}.json"


def require_id(import_id: str) -> str:
    """Return the id.

    Raises:
        ImportNotFound: it has not the form of an import's id.
    """
    if not re.fullmatch(_ID, import_id):
        raise ImportNotFound(f"there is no import {import_id!r}")
    return import_id
