"""The embedded Valkey servers: `valkey` must lose nothing, `cache` may lose all."""

import os
from pathlib import Path

from orderworks_app.embedded import health
from orderworks_app.embedded.binaries import valkey_binary
from orderworks_app.embedded.home import Home, make_folder, write_private
from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.embedded.service import Part, Stage

VALKEY, CACHE = "valkey", "cache"
BROKER_NUMBER, STREAM_NUMBER = 0, 1

DURABLE = """\
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""
"""The broker and the update stream: a full server refuses what it cannot hold, it never evicts."""

FORGETFUL = """\
appendonly no
save ""
maxmemory 256mb
maxmemory-policy allkeys-lfu
hash-max-listpack-value 2048
"""
"""Cached reads: the least used ones go when it is full; all are gone after a restart.

A hash with values of more than 64 bytes, which cached reads are, is no piece of memory but many, by
default: dropping it takes four times as long, and a third more memory.
"""


def redis_url(port: int, password: str, number: int = 0) -> str:
    """The address of one numbered database of a server."""
    return f"redis://:{password}@{LOOPBACK}:{port}/{number}"


def valkey_part(home: Home, port: int, password: str) -> Part:
    """The part that holds broker and update stream."""
    return _part(home, VALKEY, port, password, DURABLE)


def cache_part(home: Home, port: int, password: str) -> Part:
    """The part that holds cached reads."""
    return _part(home, CACHE, port, password, FORGETFUL)


def _part(home: Home, name: str, port: int, password: str, keeping: str) -> Part:
    folder = home.folder / name
    make_folder(folder)
    return Part(
        name=name,
        stage=Stage.SERVERS,
        command=(str(valkey_binary()), str(_configuration(folder, port, password, keeping))),
        mark="valkey-server",
        is_healthy=health.answers_ping(redis_url(port, password)),
        environment={"PATH": os.defpath},
        folder=folder,
        keeps_folder=True,
        deadline=120,
        address=f"{LOOPBACK}:{port}",
    )


def _configuration(folder: Path, port: int, password: str, keeping: str) -> Path:
    """The server's configuration, in a private file: on a command line everyone sees a password."""
    path = folder / "valkey.conf"
    write_private(
        path,
        f"bind {LOOPBACK}\nport {port}\nprotected-mode yes\nrequirepass {password}\n"
        f"dir {_quoted(folder)}\npidfile {_quoted(folder / 'valkey.pid')}\n"
        f'daemonize no\nlogfile ""\n{keeping}',
    )
    return path


def _quoted(path: Path) -> str:
    """A path as Valkey's configuration wants it: spaces and quotes would end the word."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
