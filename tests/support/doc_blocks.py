"""The examples of the documents: blocks of shell, Python and SQL, run in the order of their page."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT

PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

SQL = (
    "import os, sys, psycopg2; connection = psycopg2.connect(os.environ['DATABASE_URL']); "
    "connection.autocommit = True; connection.cursor().execute(sys.stdin.read())"
)
"""Python that does what psql does: not every machine has psql."""

PROGRAMS = {"python": "python -", "sql": f'python -c "{SQL}"'}
"""Commands that read a block of a language from standard input."""

NOT_RUN = {"docs/wire-format.md": "GRANT INSERT"}
"""Beginnings of blocks that need something of the reader's own: a role of PostgreSQL."""

SECONDS = 240
"""Time of a page, on a busy machine."""


@dataclass(frozen=True)
class Block:
    """A block of a page."""

    language: str
    text: str


def blocks_of(page: str) -> list[Block]:
    """All blocks of a page, in their order."""
    found = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [Block(language, text) for language, text in found]


def is_run(page: str, block: Block) -> bool:
    """Return whether a reader can run the block as it is."""
    excepted = NOT_RUN.get(page)
    return block.language in {"sh", *PROGRAMS} and not (
        excepted and block.text.startswith(excepted)
    )


def run_blocks(page: str, environment: Mapping[str, str], folder: Path) -> str:
    """Run the blocks of a page in a folder, until one fails; return what they printed."""
    run = [command(block) for block in blocks_of(page) if is_run(page, block)]
    script = "\n".join(['eval "$(orderworks env)"', *run])
    path = [str(Path(sys.executable).parent), environment["PATH"]]
    done = subprocess.run(
        [str(shutil.which("bash")), "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**environment, "PATH": os.pathsep.join(path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def command(block: Block) -> str:
    """The shell command that runs a block."""
    if block.language == "sh":
        return block.text
    return f"{PROGRAMS[block.language]} <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK\n"
