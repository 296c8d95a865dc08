"""A RabbitMQ of a test's own, to be killed and started again with the data it had.

Debian's `rabbitmq-server` is enough; the service that it installs is not used.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kombu import Connection

from orderworks_app.embedded.ports import LOOPBACK, is_free
from tests.support.missing_programs import missing
from tests.support.processes import eventually
from tests.support.servers import PORTS

DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""The program itself. Debian's command on the PATH runs it as another user, as the machine's service."""


def find_rabbitmq() -> Path:
    """The program of this machine. Without one, see `missing`."""
    on_path = shutil.which("rabbitmq-server")
    if DEBIAN.exists():
        return DEBIAN
    if on_path:
        return Path(on_path)
    raise missing("rabbitmq-server (Debian: rabbitmq-server)", "ORDERWORKS_TEST_RABBITMQ")


@dataclass
class RabbitMQ:
    """One server in a folder, which keeps its ports and its data."""

    program: Path
    folder: Path
    ports: tuple[int, int, int]
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"amqp://guest:guest@{LOOPBACK}:{self.ports[0]}//"

    def start(self) -> None:
        """Start it, and wait until clients can log in."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.program)],
                cwd=self.folder,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(self._answers, 60, "RabbitMQ does not answer", every=0.2)

    def kill(self) -> None:
        """Kill it, as the kernel does when memory is short."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)

    def end(self) -> None:
        """End it with its name server, which runs on its own."""
        self.kill()
        epmd = shutil.which("epmd")
        assert epmd
        kill = [epmd, "-port", str(self.ports[2]), "-kill"]
        eventually(
            lambda: subprocess.run(kill, capture_output=True, check=False).returncode == 0, 10
        )

    @property
    def _environment(self) -> dict[str, str]:
        port, distribution, names = map(str, self.ports)
        folder = str(self.folder)
        return {
            "HOME": folder,
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_NODENAME": f"orderworks{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": port,
            "RABBITMQ_DIST_PORT": distribution,
            "ERL_EPMD_PORT": names,
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/logs",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
        }

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text("utf-8", "replace")
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, self.ports[0])):
                return False
        with Connection(self.url, connect_timeout=5) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
            return bool(connection.connected)


@contextmanager
def running_rabbitmq(program: Path, folder: Path) -> Iterator[RabbitMQ]:
    """A server, gone at the end."""
    folder.mkdir()
    free = filter(is_free, iter(lambda: random.randint(*PORTS), None))
    server = RabbitMQ(program, folder, (next(free), next(free), next(free)))
    server.start()
    try:
        yield server
    finally:
        server.end()
