"""Where accepted files wait: a folder or an object store, addressed by URL.

A file's manifest is written after its data, and last: what has a manifest is complete and accepted.
It is deleted once the import is in the ledger, so the manifests there are name what is not planned.

The object store's client runs threads, which a fork does not take along: a process that forks
workers must not use a spool before; its children may.
"""

import hashlib
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

import msgspec
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from orders.errors import (
    ConfigurationError,
    DataMissing,
    ImportFailed,
    Unavailable,
)
from orders.imports.columns import Kind
from orders.imports.layout import Format, Layout
from orders.settings import Settings

STREAM_BLOCK = 1 << 20


class Manifest(msgspec.Struct, frozen=True):
    """What a producer accepted.

    Attributes:
        source: the file's base name, for people.
        mapping: target column to source column, for every column that is used.
        format, delimiter, header: as in `Layout`.
        strict, max_rejects, create_customers, parent, dry_run: as in `Options`.
        data_start: the byte that the first record begins at.
        data_line: the physical line that it begins on.
        version: the version of rows that bring none is this plus their line.
    """

    id: str
    kind: Kind
    source: str
    mapping: dict[str, str]
    delimiter: str
    header: list[str]
    data_start: int
    data_line: int
    bytes: int
    sha256: str
    version: int
    accepted_at: datetime
    # What follows came later: a manifest of an older producer has the defaults.
    format: Format = "csv"
    strict: bool = False
    max_rejects: int | None = None
    create_customers: bool = False
    parent: str | None = None
    dry_run: bool = False

    @property
    def layout(self) -> Layout:
        """How the data are to be read."""
        return Layout(self.format, self.delimiter, self.header)


class Spool:
    """A spool at a URL. Connects, and makes a local folder, on first use.

    Every method raises `Unavailable`, naming the spool, if it cannot be reached.
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

        with self._reached() as store:
            obstore.put(store, _data(import_id), measured())
            self._make_durable(_data(import_id))
        return size, digest.hexdigest()

    def announce(self, manifest: Manifest) -> None:
        """Write the manifest: from here on the import is accepted."""
        with self._reached() as store:
            obstore.put(store, _manifest(manifest.id), msgspec.json.encode(manifest))
            self._make_durable(_manifest(manifest.id))

    def waiting(self) -> list[str]:
        """The ids of imports that are accepted and not planned, oldest first."""
        with self._reached() as store:
            objects = [meta for batch in obstore.list(store, "manifests") for meta in batch]
        objects.sort(key=lambda meta: meta["last_modified"])
        return [Path(meta["path"]).stem for meta in objects if meta["path"].endswith(".json")]

    def stored_before(self, moment: datetime) -> list[str]:
        """The ids of imports whose data was stored before `moment`."""
        with self._reached() as store:
            objects = [meta for batch in obstore.list(store, "data") for meta in batch]
        return [Path(meta["path"]).name for meta in objects if meta["last_modified"] < moment]

    def manifest(self, import_id: str) -> Manifest | None:
        """The manifest, or None if the import was never accepted or is planned already.

        Raises:
            ImportFailed: it is there and cannot be understood; it is put aside.
        """
        with self._reached() as store:
            try:
                content = obstore.get(store, _manifest(import_id)).bytes().to_bytes()
            except FileNotFoundError:
                return None
        try:
            return msgspec.json.decode(content, type=Manifest)
        except msgspec.DecodeError as error:
            self._put_aside(import_id)
            raise ImportFailed(f"the manifest of import {import_id} is damaged: {error}") from None

    def withdraw_manifest(self, import_id: str) -> None:
        """Delete the manifest, if it is still there."""
        self._delete(_manifest(import_id))

    def delete_data(self, import_id: str) -> None:
        """Delete the data, if it is still there."""
        self._delete(_data(import_id))

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
        with self._data_of(import_id) as store:
            for block in obstore.get(store, _data(import_id)).stream(min_chunk_size=STREAM_BLOCK):
                yield bytes(block)

    def _put_aside(self, import_id: str) -> None:
        """Keep a damaged manifest for a person to see, where no sweep finds it again."""
        with self._reached() as store:
            obstore.rename(store, _manifest(import_id), f"damaged/{import_id}.json")

    def _delete(self, path: str) -> None:
        with self._reached() as store:
            try:
                obstore.delete(store, path)
            except FileNotFoundError:
                return

    @contextmanager
    def _data_of(self, import_id: str) -> Iterator[ObjectStore]:
        """The store, for reading data that must be there."""
        with self._reached() as store:
            try:
                yield store
            except FileNotFoundError:
                raise DataMissing(
                    f"the spool at {self.address}, as {socket.gethostname()} sees it, "
                    f"lacks the data of import {import_id}"
                ) from None

    @contextmanager
    def _reached(self) -> Iterator[ObjectStore]:
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
        scheme, separator, rest = self._url.partition("://")
        if ":" in rest.partition("@")[0]:
            # A password that should have been escaped may hold what ends a host: so no parser helps.
            rest = rest.rpartition("@")[2]
        return scheme + separator + re.split("[?#]", rest, maxsplit=1)[0]

    def _make_durable(self, path: str) -> None:
        """See that a file in a local spool survives a power cut; object stores do by themselves."""
        if isinstance(self._store, LocalStore):
            file = Path(unquote(urlsplit(self._url).path), path)
            for each in (file, file.parent):
                descriptor = os.open(each, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)


_first_user: list[int] = []


def _refuse_after_fork() -> None:
    """Raise where the client would wait for ever for its threads, which stayed in the parent."""
    _first_user[:] = _first_user or [os.getpid()]
    if _first_user != [os.getpid()]:
        raise ConfigurationError(
            "The spool was used before this process was forked: use it in the forked processes only"
        )


def _open_store(url: str) -> ObjectStore:
    if urlsplit(url).scheme == "file":
        return from_url(url, mkdir=True)
    try:
        return from_url(
            url,
            # Plain HTTP is used only where the endpoint's own address says so.
            client_options={"connect_timeout": "5s", "timeout": "30s", "allow_http": True},
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
        )
    except (BaseError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigurationError(f"SPOOL_URL: cannot be used: {reason}") from None


def _data(import_id: str) -> str:
    return f"data/{import_id}"


def _manifest(import_id: str) -> str:
    return f"manifests/{import_id}.json"
