"""Files that were tried by a dry run and are kept, so that they need not come again to be imported.

The data stay in the spool, as those of any import; what tells of them is Redis. With its memory gone, or
after a while, the file has to come again.
"""

from datetime import timedelta

import msgspec

from orderworks.core.keys import import_kept_file
from orderworks.core.redis import Redis
from orderworks.imports.manifest import Manifest

KEPT_FOR = timedelta(hours=6)
"""For so long one may think about it. The spool keeps data for a day at the least."""


def store(stream: Redis, manifest: Manifest) -> None:
    """Let the file of a dry run that ended be found.

    Raises:
        redis.RedisError: it cannot be.
    """
    stream.set(import_kept_file(manifest.id), msgspec.json.encode(manifest), ex=KEPT_FOR)


def find(stream: Redis, import_id: str) -> Manifest | None:
    """The manifest of the dry run, if its file is kept.

    Raises:
        redis.RedisError: Redis cannot be reached.
    """
    body = stream.get(import_kept_file(import_id))
    return None if body is None else msgspec.json.decode(body, type=Manifest)


def delete(stream: Redis, import_id: str) -> None:
    """Let the file not be imported a second time.

    Raises:
        redis.RedisError: Redis cannot be reached.
    """
    stream.delete(import_kept_file(import_id))
