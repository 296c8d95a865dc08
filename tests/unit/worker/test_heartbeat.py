"""The heartbeat file and the probe that every container runs every few seconds."""

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
    """Where a heart would beat."""
    return tmp_path / "heartbeat"


def test_a_beating_heart_is_well(file: Path) -> None:
    heartbeat.touch(file)
    done = probe(WORKER_HEARTBEAT_FILE=str(file))
    assert (done.returncode, done.stderr) == (0, "")


def test_an_old_beat_is_an_ailment_that_says_how_old(file: Path) -> None:
    heartbeat.touch(file)
    then = time.time() - 60
    os.utime(file, (then, then))
    done = probe(WORKER_HEARTBEAT_FILE=str(file))
    assert done.returncode == 1
    assert "no heartbeat for 6" in done.stderr


def test_a_late_beat_is_none(file: Path) -> None:
    heartbeat.touch(file)
    then = time.time() - 3 * heartbeat.INTERVAL
    os.utime(file, (then, then))
    assert heartbeat.unhealthy_reason(file) is None


def test_no_beat_yet_is_an_ailment(file: Path) -> None:
    done = probe(WORKER_HEARTBEAT_FILE=str(file))
    assert done.returncode == 1
    assert "no heartbeat yet" in done.stderr


def test_a_beat_of_an_earlier_process_is_forgotten(file: Path) -> None:
    heartbeat.touch(file)
    heartbeat.remove(file)
    heartbeat.remove(file)
    assert heartbeat.unhealthy_reason(file)


def test_the_probe_says_which_variable_is_missing() -> None:
    done = probe()
    assert done.returncode == 1
    assert "WORKER_HEARTBEAT_FILE is not set" in done.stderr


def test_the_probe_loads_no_package() -> None:
    code = "import sys, worker.heartbeat; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert set(done.stdout.split()) - {"worker"} <= {*sys.stdlib_module_names, "__main__"}
