"""The targets of the Makefile that have logic of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

PROGRAMS = Path(sys.executable).parent


@pytest.mark.parametrize("last", ["true", "false"])
def test_make_shell_finds_orderworks_and_is_no_failure(last: str) -> None:
    variables = ["READY=", f"BIN={PROGRAMS}", "--silent", "--no-print-directory"]
    shell = subprocess.run(
        ["make", *variables, "shell"],  # noqa: S607 - any make
        cwd=ROOT,
        env={**os.environ, "SHELL": "/bin/sh"},
        input=f"command -v orderworks\n{last}\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert shell.stdout.strip() == str(PROGRAMS / "orderworks")
