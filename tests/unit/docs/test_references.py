"""Documents name files and tests that exist."""

import re

import pytest

from tests.support.processes import ROOT

PAGES = sorted(
    page.relative_to(ROOT) for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
)

TOP = ("bench", "deploy", "docs", "migrations", "orderworks", "orderworks_app", "producer")
FOLDERS = (*TOP, "tasks", "tests", "tools", "worker", ".ci")

FILES = [
    file.relative_to(ROOT).as_posix()
    for file in (*ROOT.iterdir(), *(each for top in FOLDERS for each in (ROOT / top).rglob("*")))
    if file.is_file()
]

SOURCE = re.compile(r"`(?:[a-z_.]+/)*[a-z_0-9]+\.(?:py|js|yml)`|`(?:[a-z_.]+/)+`")
"""A source file or a folder, as text names it: by its path or the end of its path."""

TEST = re.compile(r"`(?:[\w/.]+::)?(test_\w+)`")

OF_RUNS = {"`secrets/`", "`.orderworks/`", "`damaged/`", "`orderworks/bench/`"}
"""Folders that the program makes."""


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_file_that_a_page_names_exists(page: str) -> None:
    folders = {f"{name.rpartition('/')[0]}/" for name in FILES}
    known = {*FILES, *(parent for folder in folders for parent in parents(folder))}
    named = set(SOURCE.findall((ROOT / page).read_text(encoding="utf-8"))) - OF_RUNS
    missing = [
        name for name in named if not any(f"/{each}".endswith(f"/{name[1:-1]}") for each in known)
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    tests = [ROOT / name for name in FILES if name.startswith("tests/") and name.endswith(".py")]
    defined = {
        name
        for test in tests
        for name in re.findall(r"^(?:async )?def (test_\w+)", test.read_text("utf-8"), re.MULTILINE)
    }
    named = set(TEST.findall((ROOT / page).read_text(encoding="utf-8")))
    assert not {name for name in named if name not in defined and f"{name}.py" not in str(FILES)}


def parents(folder: str) -> list[str]:
    """The folder and those that it lies in, each with a slash at its end."""
    parts = folder.rstrip("/").split("/")
    return ["/".join(parts[:count]) + "/" for count in range(1, len(parts) + 1)]
