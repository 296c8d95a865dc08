"""requirements/*.txt contain the packages that pyproject.toml requires, pinned and hashed, and no other.

The test works without the network, by the metadata of the installed packages, which are those locked.
"""

import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.processes import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]

every_lock = pytest.mark.parametrize("name", ["dev", "gateway", "build"])


def lock(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


def locked(name: str) -> dict[str, Requirement]:
    """The lock's entries for this platform by name."""
    lines = lock(name).read_text(encoding="utf-8").splitlines()
    entries = [Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalnum()]
    return {canonicalize_name(entry.name): entry for entry in entries if applies(entry, [])}


def required_by_project(name: str) -> list[Requirement]:
    """The requirements of pyproject.toml for this lock."""
    if name == "build":
        return [Requirement(text) for text in PYPROJECT["build-system"]["requires"]]
    return [Requirement(f"{PROJECT['name']}[{name}]")]


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def requirements_of(requirement: Requirement) -> list[Requirement]:
    """The requirements of a package on this platform with the requested extras."""
    if requirement.name == PROJECT["name"]:
        optional = PROJECT["optional-dependencies"]
        texts = [text for extra in requirement.extras for text in optional[extra]]
        return [Requirement(text) for text in (*PROJECT["dependencies"], *texts)]
    needed = [Requirement(text) for text in distribution(requirement.name).requires or ()]
    return [each for each in needed if applies(each, requirement.extras)]


def closure(name: str) -> dict[str, list[Requirement]]:
    """All required packages, direct or not, with all requirements of each."""
    waiting, found = required_by_project(name), dict[str, list[Requirement]]()
    while waiting:
        requirement = waiting.pop()
        known = found.setdefault(canonicalize_name(requirement.name), [])
        if str(requirement) not in map(str, known):
            known.append(requirement)
            waiting += requirements_of(requirement)
    found.pop(PROJECT["name"], None)
    return found


@every_lock
def test_a_lock_satisfies_the_project(name: str) -> None:
    entries = locked(name)
    for package, requirements in closure(name).items():
        assert package in entries, f"{package} is not in {lock(name).name}: run `make lock`"
        (pinned,) = entries[package].specifier
        for requirement in requirements:
            assert requirement.specifier.contains(pinned.version, prereleases=True), requirement


@every_lock
def test_lock_contains_no_unneeded_package(name: str) -> None:
    assert set(locked(name)) <= set(closure(name))


@every_lock
def test_every_locked_package_is_pinned_and_hashed(name: str) -> None:
    text = lock(name).read_text(encoding="utf-8")
    entries = [entry for entry in text.split("\n") if entry[:1].isalnum()]
    assert all("==" in entry and entry.endswith("\\") for entry in entries)
    assert text.count("--hash=sha256:") >= len(entries)


@pytest.mark.parametrize("name", ["gateway", "build"])
def test_image_installs_the_tested_versions(name: str) -> None:
    tested = locked("dev")
    for package, entry in locked(name).items():
        assert str(tested[package]) == str(entry)
