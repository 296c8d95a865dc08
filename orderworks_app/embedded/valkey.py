"""The embedded Valkey servers: `valkey` must not lose data, `cache` may."""

import os
from pathlib import Path

from orderworks_app.embedded import health
from orderworks_app.embedded.binaries import valkey_binary
from orderworks_app.embedded.home import Home, make_folder, write_private
from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.embedded.service import Service, StartStage

VALKEY, CACHE = "valkey", "cache"
BROKER_NUMBER, STREAM_NUMBER = 0, 1

DURABLE = """\
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""
"""The broker and the update stream: a full server refuses writes, it never evicts."""

VOLATILE = """\
appendonly no
save ""
maxmemory 256mb
maxmemory-policy allkeys-lfu
hash-max-listpack-value 2048
"""
"""Cached reads: a full server evicts the least used ones; a restart deletes all.

By default a hash with values of more than 64 bytes, which cached reads are, is stored in many pieces
of memory: deleting it takes four times as long, and it needs a third more memory.
"""


def redis_url(port: int, password: str, number: int = 0) -> str:
    """The address of one numbered database of a server."""
    return f"redis://:{password}@{LOOPBACK}:{port}/{number}"


def valkey_service(home: Home, port: int, password: str) -> Service:
    """The service with broker and update stream."""
    return _service(home, VALKEY, port, password, DURABLE)


def cache_service(home: Home, port: int, password: str) -> Service:
    """The service with cached reads."""
    return _service(home, CACHE, port, password, VOLATILE)


def _service(home: Home, name: str, port: int, password: str, persistence: str) -> Service:
    folder = home.folder / name
    make_folder(folder)
    return Service(
        name=name,
        stage=StartStage.SERVERS,
        command=(str(valkey_binary()), str(_configuration(folder, port, password, persistence))),
        command_mark="valkey-server",
        is_healthy=health.answers_ping(redis_url(port, password)),
        environment={"PATH": os.defpath},
        folder=folder,
        owns_folder=True,
        deadline=120,
        address=f"{LOOPBACK}:{port}",
    )


def _configuration(folder: Path, port: int, password: str, persistence: str) -> Path:
    """The server's configuration, in a private file: every user can read a command line."""
    path = folder / "valkey.conf"
    write_private(
        path,
        f"bind {LOOPBACK}\nport {port}\nprotected-mode yes\nrequirepass {password}\n"
        f"dir {_quoted(folder)}\npidfile {_quoted(folder / 'valkey.pid')}\n"
        f'daemonize no\nlogfile ""\n{persistence}',
    )
    return path


def _quoted(path: Path) -> str:
    """The path quoted for Valkey's configuration, where a space or a quote would end it."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
