"""The built wheel in an application's environment, next to packages of the application's own."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orderworks.core.keys import update_stream
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings

# Making an environment with pip takes long on a busy machine.
pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]

PACKAGES = ("config", "core", "migrations", "orders", "tasks", "tests", "worker")
"""Packages that the application has: some are called as ours, some as others often are."""

MODULES = (*PACKAGES, "celeryconfig")

PUBLIC = {"orderworks", "producer"}
"""Our packages that an application's process loads."""

OURS = PUBLIC | {"bench", "celeryconfig", "migrations", "orderworks_app", "tasks", "worker"}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, and other projects' packages after it on the path."""
    folder = tmp_path_factory.mktemp("installation")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist"], ROOT)
    venv.create(folder, with_pip=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    run([python(folder), "-m", "pip", "install", "--no-index", "--no-deps", wheel], folder)
    # Where a path comes from a .pth file, the .pth files there are not read: not the editable install's.
    shared = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages(folder) / "shared.pth").write_text("\n".join(shared))
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an application that uses Celery itself."""
    folder = tmp_path_factory.mktemp("project")
    for name in PACKAGES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("OWNER = 'application'\n")
    (folder / "celeryconfig.py").write_text("OWNER = 'application'\ntask_routes = None\n")
    shutil.copy(ROOT / "tests" / "support" / "wheel_app.py", folder / "main.py")
    return folder


@pytest.fixture(scope="module")
def seen(settings: Settings, installation: Path, project: Path) -> dict[str, Any]:
    """The application's output, run against the test's servers."""
    assert settings.database, "the fixture has put the addresses into the environment"
    own = {"CELERY_CONFIG_MODULE": "celeryconfig"}
    output: dict[str, Any] = json.loads(
        run([python(installation), "main.py", *MODULES], project, **own)
    )
    return output


def test_application_uses_what_the_wheel_has(
    seen: dict[str, Any], stream: Redis, engine: sa.Engine
) -> None:
    assert sum(stream.xlen(update_stream(shard)) for shard in range(2)) == 1, seen["entry"]
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT order_id FROM update_outbox")).scalars().all()
    assert rows == [2]
    assert seen["computed"] == [1, 1, 2], (
        "the second call was cached; the third, after invalidation"
    )
    assert seen["customer"] == "Ada"


def test_process_of_an_application_loads_two_of_our_packages(
    seen: dict[str, Any], installation: Path
) -> None:
    ours = {name: file for name, file in seen["files"].items() if name.partition(".")[0] in OURS}
    assert {name.partition(".")[0] for name in ours} == PUBLIC
    installed = site_packages(installation)
    outside = [name for name, file in ours.items() if not Path(file).is_relative_to(installed)]
    assert not outside, "all of it comes from the wheel"


def test_packages_of_the_application_are_its_own(seen: dict[str, Any]) -> None:
    assert seen["own"] == dict.fromkeys(MODULES, "application")


def test_command_of_the_wheel_runs_in_the_project(installation: Path, project: Path) -> None:
    assert "import" in run([installation / "bin" / "orderworks", "--help"], project)


def python(installation: Path) -> Path:
    return installation / "bin" / "python"


def site_packages(installation: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(installation)}))


def run(command: list[str | Path], folder: Path, **variables: str) -> str:
    """Run a program in a folder, without this checkout on its path; return its output."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=inherited | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
