"""Real processes start slowly, so the tests of a module share one database and what runs on it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderworks.core.settings import Settings
from orderworks_app.cli.app import run as run_command
from orderworks_app.embedded.stack import Stack
from tests.conftest import fresh_settings
from tests.support.commands import Done, RunCommand
from tests.support.processes import CeleryProcess, running_worker, worker_and_beat

OFTEN = {"SWEEP_INTERVAL": "1", "REPORT_INTERVAL": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where processes run; their logs lie beside it."""
    return tmp_path_factory.mktemp("celery") / "run"


@pytest.fixture(scope="module")
def settings(stack: Stack, admin: sa.Engine, template: str, folder: Path) -> Iterator[Settings]:
    """A fresh database, empty Valkeys and an empty spool for the module; beat is in a hurry."""
    with fresh_settings(stack, admin, template, folder.with_name("home"), **OFTEN) as made:
        yield made


@pytest.fixture(scope="module")
def worker(settings: Settings, folder: Path) -> Iterator[CeleryProcess]:
    """A worker of two processes."""
    with running_worker(folder, "--concurrency=2") as service:
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
