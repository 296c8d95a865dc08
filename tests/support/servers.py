"""A Valkey of a test's own, to be killed, frozen and started again with the data it had."""

import random
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orderworks.core.redis import make_redis
from orderworks_app.embedded.binaries import valkey_binary
from orderworks_app.embedded.health import answers_ping
from orderworks_app.embedded.ports import LOOPBACK, is_free
from tests.support.processes import eventually

DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction")
"""As the embedded server that must lose nothing is configured."""


PORTS = (12_000, 15_999)
"""Below the ports of embedded servers and of outgoing connections."""

CLUSTER_BUS = 10_000
"""A member of a cluster listens on the port that is this much higher, too."""


@dataclass
class Valkey:
    """One server in a folder, which keeps its port and its data."""

    folder: Path
    port: int
    options: Sequence[str] = DURABLE
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        """The address of its first database."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it has loaded its data."""
        address = ("--bind", LOOPBACK, "--port", str(self.port), "--dir", str(self.folder))
        self.process = subprocess.Popen(
            [str(valkey_binary()), *address, "--save", "", *self.options],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            eventually(self._answers, 20, "Valkey does not answer")
        except BaseException:
            self.kill()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, "Valkey ended: another process may have its port"
        return bool(answers_ping(self.url)(""))

    def kill(self) -> None:
        """Kill it, as the kernel does when memory is short."""
        self.process.kill()
        self.process.wait(timeout=10)

    def keys(self, pattern: str) -> list[bytes]:
        """Its keys."""
        with make_redis(self.url, timeout=5) as client:
            return list(client.scan_iter(pattern))


@contextmanager
def running_valkey(folder: Path, *options: str) -> Iterator[Valkey]:
    """A durable server with these options in addition, gone at the end."""
    folder.mkdir()
    # At random: tests at the same time, and ones whose server is killed for a while, must not meet.
    ports = iter(lambda: random.randint(*PORTS), None)
    port = next(each for each in ports if is_free(each) and is_free(each + CLUSTER_BUS))
    server = Valkey(folder, port, (*DURABLE, *options))
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def silent_redis() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield f"redis://{LOOPBACK}:{server.getsockname()[1]}/0"
