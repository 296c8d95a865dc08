"""Walks: the shell blocks of a page of the documentation, run as a reader would."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_blocks(page: str, gateway: str, folder: Path) -> str:
    """Run the blocks of a page in a folder, against a gateway, until one fails; what they printed."""
    script = "\n".join(BLOCK.findall((ROOT / page).read_text(encoding="utf-8")))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [str(shutil.which("bash")), "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "GATEWAY": gateway},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
