"""Files of dry runs that are kept, so that they need not be uploaded again to be imported.

The data stay in the spool, like those of any import; their manifest is in Redis. If Redis loses it, or
after `KEPT_FOR`, the file has to be uploaded again.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec

from orderworks.core.keys import import_kept_file
from orderworks.core.redis import Redis
from orderworks.imports.manifest import Manifest, decode_manifest

KEPT_FOR = timedelta(hours=6)
"""Time in which a kept file can be imported. The spool keeps data for at least a day."""


def store(stream: Redis, manifest: Manifest) -> None:
    """Store the manifest of a dry run that ended.

    Raises:
        redis.RedisError: Redis cannot be reached; it is not stored.
    """
    stream.set(import_kept_file(manifest.id), msgspec.json.encode(manifest), ex=KEPT_FOR)


def find(stream: Redis, import_id: str) -> Manifest | None:
    """The manifest of the dry run, if its file is kept. A damaged one is as none.

    Raises:
        redis.RedisError: Redis cannot be reached.
    """
    body: Any = stream.get(import_kept_file(import_id))
    with suppress(ValueError):
        return None if body is None else decode_manifest(body, import_id)
    return None


def delete(stream: Redis, import_id: str) -> None:
    """Delete the manifest, so that the file is not imported a second time.

    Raises:
        redis.RedisError: Redis cannot be reached.
    """
    stream.delete(import_kept_file(import_id))
