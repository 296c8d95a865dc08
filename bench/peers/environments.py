"""Virtual environments of the peers: created once per set of releases, in the user's cache folder."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.alternate import SideFailed, print_progress
from bench.peers.registry import Peer

READY = ".ready"
"""The file whose existence marks a complete environment."""


def python_of(peer: Peer) -> str:
    """Return the interpreter with the peer's packages; the running one if it pins none.

    Raises:
        SideFailed: they cannot be installed; the message has the installer's last line.
    """
    if not peer.pins:
        return sys.executable
    folder = cache_folder() / f"{peer.module}-{digest(peer.pins)}"
    if not (folder / READY).exists():
        print_progress(f"installing {peer.name} … ")
        shutil.rmtree(folder, ignore_errors=True)
        for command in _commands(folder, peer.pins):
            _run(command)
        (folder / READY).touch()
        print_progress("done\n")
    return str(_python(folder))


def cache_folder() -> Path:
    """Return the folder of the environments."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "orderworks" / "bench"


def digest(pins: Sequence[str]) -> str:
    """Return a short name for a set of packages on this Python."""
    return hashlib.sha256("\n".join([sys.version, *pins]).encode()).hexdigest()[:12]


def _commands(folder: Path, pins: Sequence[str]) -> list[list[str]]:
    """Return the commands that create the environment: with uv, ten times as fast, if available."""
    python = str(_python(folder))
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv:
        return [
            [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--python", python, *pins],
        ]
    return [
        [sys.executable, "-m", "venv", str(folder)],
        [python, "-m", "pip", "install", "--quiet", *pins],
    ]


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - an installer
    if done.returncode != 0:
        output = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise SideFailed(f"it cannot be installed: {output[-1]}")
