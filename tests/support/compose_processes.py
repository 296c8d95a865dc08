"""docker-compose.yml as plain processes: its own commands, secrets and health checks, run here.

What Compose and the images do is done in their stead: variables get their defaults, paths inside a
container become folders of the test, host names become loopback ports, programs those of the wheels.
"""

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from orderworks_app.embedded.binaries import postgresql_binaries, valkey_binary
from orderworks_app.embedded.ports import HIGHEST, LOOPBACK, LOWEST, is_free
from orderworks_app.embedded.unix_user import UnixUser
from tests.support.processes import ROOT

FILE = ROOT / "docker-compose.yml"

ComposeService = dict[str, Any]

# `valkey-cli` is not in the wheel. Like it, this makes an error of the server the exit status.
PING = """
import sys
from orderworks.core.redis import make_redis
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
make_redis("redis://{--user}:{--pass}@127.0.0.1:{-p}".format(**given), timeout=1).ping()
"""


def services() -> dict[str, ComposeService]:
    """The services, as Compose understands them when nothing is configured."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", FILE.read_text(encoding="utf-8"))
    parsed: dict[str, ComposeService] = yaml.safe_load(text)["services"]
    return parsed


def free_ports(*names: str) -> dict[str, int]:
    """A free port of the loopback interface for each name."""
    free = filter(is_free, iter(lambda: random.randint(LOWEST, HIGHEST), None))
    return {name: next(free) for name in names}


@dataclass(frozen=True)
class Composition:
    """One run of the services, in a folder.

    Attributes:
        folder: holds `secrets`, `spool`, and for each service its /tmp, /data and log.
        ports: which port of the loopback interface each listening service has.
    """

    folder: Path
    ports: Mapping[str, int]
    account: UnixUser | None = None
    _services: dict[str, ComposeService] = field(default_factory=services)

    @cached_property
    def secrets(self) -> Path:
        """The secret files, made by our own script, with addresses that lead here."""
        folder = self.folder / "secrets"
        subprocess.run([ROOT / "deploy/make-secrets", folder], check=True, capture_output=True)
        for path in folder.iterdir():
            path.chmod(0o644)
            path.write_text(self._with_ports(path.read_text("utf-8")), "utf-8")
        return folder

    def add(self, name: str, like: str, *options: str) -> None:
        """One more service, with further options."""
        model = self._services[like]
        self._services[name] = {**model, "command": [*model["command"], *options]}

    def set_secret(self, name: str, value: str) -> None:
        """Change the content of a secret file."""
        (self.secrets / name).write_text(value, "utf-8")

    def secret(self, name: str) -> str:
        """The content of a secret file."""
        return (self.secrets / name).read_text("utf-8").strip()

    def command(self, name: str) -> list[str]:
        """A service's command line."""
        program, *arguments = self._translated(name, self._services[name]["command"])
        return [*_program(program, self.account), *arguments, *self._server_arguments(name)]

    def environment(self, name: str) -> dict[str, str]:
        """A service's whole environment."""
        stated = self._services[name].get("environment", {})
        values = self._translated(name, list(stated.values()))
        own = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        return {**own, **dict(zip(stated, values, strict=True))}

    def is_healthy(self, name: str) -> bool:
        """Ask a service's health check once."""
        check = self._services[name]["healthcheck"]
        kind, program, *arguments = self._translated(name, check["test"])
        assert kind == "CMD"
        port = ["-p", str(self.ports[name])] if name in ("postgres", "valkey", "cache") else []
        command = [*_program(program, self.account), *port, *_options(program, arguments)]
        try:
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                cwd=self._place(name, "cwd"),
                env=self.environment(name),
                timeout=float(check["timeout"].removesuffix("s")),
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    @contextmanager
    def running(self, name: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """A service's process while the block lasts. Thawed and killed if it still runs then."""
        with self.log(name).open("ab") as output:
            process = subprocess.Popen(
                [*self.command(name), *options],
                cwd=self._place(name, "cwd"),
                env=self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **(self.account.popen_arguments() if self.account else {}),
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def log(self, name: str) -> Path:
        """The output of a service."""
        return self.folder / f"{name}.log"

    def heartbeat(self, name: str) -> Path:
        """The heartbeat file of a worker or beat."""
        return Path(self.environment(name)["WORKER_HEARTBEAT_FILE"])

    def left_behind(self, name: str) -> list[Path]:
        """Files that a service wrote where it was started: its container's disk is read-only."""
        return list(self._place(name, "cwd").iterdir())

    def _translated(self, name: str, words: Sequence[str]) -> list[str]:
        """Paths and addresses of a container as those of this run."""
        places = {
            "/run/secrets": str(self.secrets),
            "/app/flowerconfig.py": str(ROOT / "deploy/flowerconfig.py"),
            "/tmp": str(self._place(name, "tmp")),  # noqa: S108 - a container's own
            "/data": str(self._place(name, "data")),
            "/spool": str(self._place("", "spool")),
            "0.0.0.0": LOOPBACK,  # noqa: S104 - likewise
            "5555": str(self.ports.get("flower", 0)),
            "8000": str(self.ports.get("gateway", 0)),
        }
        pattern = re.compile(rf"(?:{'|'.join(map(re.escape, places))})(?!\w)")
        return [pattern.sub(lambda found: places[found[0]], str(word)) for word in words]

    def _place(self, name: str, what: str) -> Path:
        folder = self.folder / name / what
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _with_ports(self, text: str) -> str:
        for name, port in self.ports.items():
            text = re.sub(rf"@{name}:\d+", f"@{LOOPBACK}:{port}", text)
        return text

    def _server_arguments(self, name: str) -> list[str]:
        if name == "postgres":
            return [
                f"--port={self.ports[name]}",
                f"--listen_addresses={LOOPBACK}",
                f"--unix_socket_directories={self._place(name, 'tmp')}",
            ]
        if name in ("valkey", "cache"):
            return ["--port", str(self.ports[name]), "--bind", LOOPBACK]
        return []


def _program(name: str, account: UnixUser | None) -> list[str]:
    match name:
        case "celery":
            return [sys.executable, "-m", "celery"]
        case "orderworks":
            return [sys.executable, "-m", "orderworks_app"]
        case "python":
            return [sys.executable]
        case "valkey-server":
            return [str(valkey_binary())]
        case "valkey-cli":
            return [sys.executable, "-c", PING]
    return [str(postgresql_binaries(account) / name)]


def _options(program: str, arguments: list[str]) -> list[str]:
    """Arguments of a health check; for our stand-in of valkey-cli only those with a value."""
    if program != "valkey-cli":
        return arguments
    at = arguments.index("--user")
    assert arguments[:at] == ["-e", "--no-auth-warning"]
    assert arguments[-1] == "ping"
    return arguments[at:-1]
