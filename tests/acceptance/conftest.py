"""Real processes start slowly, so the tests of a module share one database and what runs on it."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from orderworks.core.settings import Settings
from orderworks_app.cli.app import run as run_command
from orderworks_app.embedded.home import open_home
from orderworks_app.embedded.ports import port_of
from tests.support.commands import Done, RunCommand
from tests.support.databases import Databases
from tests.support.processes import BEAT_OFTEN, CeleryProcess, running_worker, worker_and_beat
from tests.support.stack_process import new_home


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of processes; their logs are in its parent."""
    return tmp_path_factory.mktemp("celery") / "run"


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    """Variables of the module's processes and tests."""
    return BEAT_OFTEN


@pytest.fixture(scope="module")
def settings(
    databases: Databases, environment: Mapping[str, str], folder: Path
) -> Iterator[Settings]:
    """A clean database, empty Valkeys and an empty spool for the module."""
    with databases.fresh_settings(folder.with_name("home"), **environment) as made:
        yield made


@pytest.fixture(scope="module")
def concurrency() -> int:
    """The number of processes of a worker."""
    return 2


@pytest.fixture(scope="module")
def worker(settings: Settings, folder: Path, concurrency: int) -> Iterator[CeleryProcess]:
    """A worker with pool processes for the module."""
    with running_worker(folder, f"--concurrency={concurrency}") as service:
        yield service


@pytest.fixture(scope="module")
def worker_with_beat(
    settings: Settings,
    folder: Path,
) -> Iterator[CeleryProcess]:
    """A worker of two processes, and beat."""
    with worker_and_beat(folder, "--concurrency=2") as service:
        yield service


@pytest.fixture
def run(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> RunCommand:
    """Run `orderworks` in this process, against the test's servers, in a folder of its own."""
    assert settings.database

    def orderworks(*arguments: str, **environment: str) -> Done:
        capfd.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["orderworks", *arguments])
            patch.chdir(tmp_path)
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                run_command()
        return Done(int(ended.value.code or 0), *capfd.readouterr())

    return orderworks


@pytest.fixture
def stack_home() -> Iterator[Path]:
    """The home of a stack that the test starts."""
    with new_home() as home:
        yield home


@pytest.fixture
def gateway_port(tmp_path: Path) -> int:
    """A free port for a gateway."""
    return port_of(open_home(tmp_path), "gateway")
