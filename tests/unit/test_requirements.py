"""requirements/*.txt hold what pyproject.toml asks for, pinned and hashed, and nothing else.

Judged without the network, by the metadata of what is installed here, which is what the lock says.
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


def asked_for(name: str) -> list[Requirement]:
    """What pyproject.toml wants in this lock."""
    if name == "build":
        return [Requirement(text) for text in PYPROJECT["build-system"]["requires"]]
    return [Requirement(f"{PROJECT['name']}[{name}]")]


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def requirements_of(requirement: Requirement) -> list[Requirement]:
    """What a package needs here with the extras that are asked for."""
    if requirement.name == PROJECT["name"]:
        optional = PROJECT["optional-dependencies"]
        texts = [text for extra in requirement.extras for text in optional[extra]]
        return [Requirement(text) for text in (*PROJECT["dependencies"], *texts)]
    needed = [Requirement(text) for text in distribution(requirement.name).requires or ()]
    return [each for each in needed if applies(each, requirement.extras)]


def closure(name: str) -> dict[str, list[Requirement]]:
    """Everything that is needed, directly or not, with all that is asked of it."""
    waiting, found = asked_for(name), dict[str, list[Requirement]]()
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
def test_a_lock_holds_nothing_that_nobody_asks_for(name: str) -> None:
    assert set(locked(name)) <= set(closure(name))


@every_lock
def test_every_locked_package_is_pinned_and_hashed(name: str) -> None:
    text = lock(name).read_text(encoding="utf-8")
    entries = [entry for entry in text.split("\n") if entry[:1].isalnum()]
    assert all("==" in entry and entry.endswith("\\") for entry in entries)
    assert text.count("--hash=sha256:") >= len(entries)


@pytest.mark.parametrize("name", ["gateway", "build"])
def test_the_image_installs_what_the_tests_run(name: str) -> None:
    tested = locked("dev")
    for package, entry in locked(name).items():
        assert str(tested[package]) == str(entry)
