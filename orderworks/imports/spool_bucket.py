"""The spool in an object store. Its client runs threads, which do not exist in forked processes."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta

import obstore
from obstore.store import ObjectStore, from_url

from orderworks.imports.spool_folder import StoredFile, UnusableFile

REQUEST_SECONDS = 30
"""Longest time of a request to an object store, including its retries and its response."""

UPLOAD_PARTS = 4
"""Parts of 5 MiB that an upload sends, and holds in memory, at a time. 12, the client's default, are no
faster where bandwidth is the limit; each would have a twelfth of it until its timeout."""


class BucketStorage:
    """Files of the spool, by their paths `FOLDER/NAME`.

    Methods raise `FileNotFoundError` for a file that does not exist, and obstore's `BaseError` or an
    `OSError` if the store cannot be used.
    """

    def __init__(self, url: str) -> None:
        """Raises an error of obstore, or `ValueError`, if `url` names no store."""
        self._store: ObjectStore = from_url(
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

    def write(self, path: str, blocks: Iterable[bytes]) -> None:
        """Store the blocks, all or nothing."""
        obstore.put(self._store, path, iter(blocks), max_concurrency=UPLOAD_PARTS)

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""
        return obstore.head(self._store, path)["size"]

    def read(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from `start` up to, without, `end`, or up to its end."""
        return obstore.get_range(self._store, path, start=start, end=end).to_bytes()

    def read_all(self, path: str, limit: int) -> bytes:
        """Return a file of at most `limit` bytes.

        Raises:
            UnusableFile: it is larger.
        """
        found = obstore.get(self._store, path)
        if found.meta["size"] > limit:
            raise UnusableFile(f"it has {found.meta['size']} bytes, more than {limit}")
        return found.bytes().to_bytes()

    def entries(self, folder: str) -> list[StoredFile]:
        """List the files of a folder and of those in it."""
        found = [meta for batch in obstore.list(self._store, folder) for meta in batch]
        return [StoredFile(meta["path"], meta["last_modified"]) for meta in found]

    def parts(self) -> list[StoredFile]:
        """Return nothing: incomplete uploads are in no list of a store."""
        return []

    def move(self, path: str, to: str) -> str:
        """Move a file; return its new path."""
        obstore.rename(self._store, path, to)
        return to

    def delete(self, path: str) -> None:
        """Delete a file, if it exists."""
        with suppress(FileNotFoundError):
            obstore.delete(self._store, path)
