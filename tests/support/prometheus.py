"""Prometheus and promtool of this machine: rules are tested, and a real server scrapes the gateway."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from orderworks_app.embedded.ports import LOOPBACK
from tests.support.compose_processes import free_ports
from tests.support.missing_programs import missing
from tests.support.processes import ROOT, poll

CONFIGURATION = ROOT / "deploy" / "prometheus.yml"


def find_program(name: str) -> str:
    """A program of this machine. Without it, see `missing`."""
    if program := shutil.which(name):
        return program
    raise missing(f"{name} (Debian: prometheus)", "ORDERWORKS_TEST_PROMETHEUS")


def promtool(*arguments: str | Path) -> str:
    """Run promtool; what it prints. The test fails if promtool does."""
    command = [find_program("promtool"), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    address: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The current result of an expression. The test fails if the server refuses it."""
        answer = httpx.get(f"{self.address}/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def get(self, path: str) -> Any:  # noqa: ANN401 - any document
        """The data of a path of its API."""
        return httpx.get(f"{self.address}/api/v1/{path}").json()["data"]


@contextmanager
def running_prometheus(folder: Path, gateway: str, token: str) -> Iterator[Prometheus]:
    """A server with the configuration of deploy/, which scrapes this gateway every 5 s."""
    folder.mkdir()
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    (job,) = configuration["scrape_configs"]
    job["scrape_interval"] = job["scrape_timeout"] = "5s"
    job["static_configs"] = [{"targets": [gateway.removeprefix("http://")]}]
    job["authorization"]["credentials_file"] = str(folder / "token")
    configuration["rule_files"] = [
        str(CONFIGURATION.parent / name) for name in configuration["rule_files"]
    ]
    (folder / "token").write_text(token)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    address = f"{LOOPBACK}:{free_ports('prometheus')['prometheus']}"
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": address,
    }
    command = [
        find_program("prometheus"),
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        assert poll(lambda: _is_ready(address), 60), (folder / "log").read_text()
        yield Prometheus(f"http://{address}")
    finally:
        process.kill()
        process.wait()


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/-/ready").is_success
    except httpx.TransportError:
        return False
