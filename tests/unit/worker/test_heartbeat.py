"""The heartbeat file, and the probe that each container runs every few seconds."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from worker import heartbeat


def probe(**environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "worker.heartbeat"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": os.defpath, **environment},
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The heartbeat file, which does not exist yet."""
    return tmp_path / "heartbeat"


def test_recent_heartbeat_is_healthy(file: Path) -> None:
    heartbeat.touch(file)
    done = probe(WORKER_HEARTBEAT_FILE=str(file))
    assert (done.returncode, done.stderr) == (0, "")


def test_old_heartbeat_is_unhealthy_and_reports_its_age(file: Path) -> None:
    heartbeat.touch(file)
    then = time.time() - 60
    os.utime(file, (then, then))
    done = probe(WORKER_HEARTBEAT_FILE=str(file))
    assert done.returncode == 1
    assert "no heartbeat for 6" in done.stderr


def test_slightly_late_heartbeat_is_healthy(file: Path) -> None:
    heartbeat.touch(file)
    then = time.time() - 3 * heartbeat.INTERVAL
    os.utime(file, (then, then))
    assert heartbeat.unhealthy_reason(file) is None


def test_missing_heartbeat_is_unhealthy(file: Path) -> None:
    done = probe(WORKER_HEARTBEAT_FILE=str(file))
    assert done.returncode == 1
    assert "no heartbeat yet" in done.stderr


def test_heartbeat_of_an_earlier_process_is_deleted(file: Path) -> None:
    heartbeat.touch(file)
    heartbeat.remove(file)
    heartbeat.remove(file)
    assert heartbeat.unhealthy_reason(file)


def test_probe_names_the_missing_variable() -> None:
    done = probe()
    assert done.returncode == 1
    assert "WORKER_HEARTBEAT_FILE is not set" in done.stderr


def test_probe_loads_only_the_standard_library() -> None:
    code = "import sys, worker.heartbeat; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert set(done.stdout.split()) - {"worker"} <= {*sys.stdlib_module_names, "__main__"}
