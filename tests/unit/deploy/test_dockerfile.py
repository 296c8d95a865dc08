"""deploy/Dockerfile: the content of the image, its user, and the builder's context."""

import json
import re
import tomllib

import pytest

from tests.support.compose_processes import services
from tests.support.processes import ROOT

TEXT = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
BUILD, FINAL = re.split(r"^FROM \$\{PYTHON\}.*$", TEXT, flags=re.MULTILINE)[1:]
COPIED = [
    source
    for words in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE)
    for source in words.split()[:-1]
]
IGNORE = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()


def test_all_wheel_packages_are_copied_into_the_build() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*wheel["only-include"], "pyproject.toml"} <= set(COPIED)


@pytest.mark.parametrize("source", COPIED)
def test_copied_paths_exist_and_reach_the_builder(source: str) -> None:
    assert (ROOT / source).exists()
    assert f"!{source}" in IGNORE


def test_nothing_else_reaches_the_builder() -> None:
    assert "*" in IGNORE
    assert {entry[1:] for entry in IGNORE if entry.startswith("!")} == set(COPIED)


def test_every_download_is_hashed_and_prebuilt() -> None:
    for command in re.findall(r"pip\S*\s(?:[^&\n]*\s)?(?:install|wheel)\s[^&\n]*", TEXT):
        hashed = "--require-hashes" in command and "--only-binary=:all:" in command
        assert hashed or "--no-deps" in command


def test_image_has_no_build_tools_and_runs_unprivileged() -> None:
    assert not re.search(r"\bpip\b|apt-get|\bgcc\b", FINAL)
    assert re.findall(r"^USER (\S+)$", FINAL, re.MULTILINE) == [services()["migrate"]["user"]]
    assert "HEALTHCHECK" not in TEXT
    (command,) = re.findall(r"^CMD (.+)$", FINAL, re.MULTILINE)
    assert json.loads(command)[0] == "orderworks"
