"""`orderworks demo`, interrupted before it is done."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orderworks.core.settings import STATE_FILE
from tests.support.processes import ROOT, default_hangup, eventually
from tests.support.stack_process import bare_environment, processes_of


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_demo_leaves_no_process(stack_home: Path, how: signal.Signals) -> None:
    with default_hangup():
        demo = subprocess.Popen(
            [sys.executable, "-m", "orderworks_app", "demo", "--orders", "1000", "--keep"],
            env=bare_environment(stack_home),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
    try:
        eventually((stack_home / STATE_FILE).exists, 60)
        demo.send_signal(how)
        assert demo.wait(60) != 0, "an interrupted demo must not succeed"
    finally:
        demo.kill()
        demo.wait()
    assert processes_of(stack_home) == []
