"""The folder of the embedded stack that a command uses, and the error if no stack runs there."""

import json
import os
from pathlib import Path

import pytest

from orderworks.core.errors import ConfigurationError
from orderworks.core.settings import Settings


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with a stack of its own; the current folder is two levels below it."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    below = tmp_path / "project" / "docs" / "figures"
    below.mkdir(parents=True)
    make_stack(tmp_path / "project", "redis://project")
    monkeypatch.chdir(below)
    return tmp_path / "project"


def make_stack(folder: Path, redis_url: str) -> Path:
    """A `.orderworks` with a state file that has this address."""
    home = folder / ".orderworks"
    home.mkdir()
    state = {"environment": {"REDIS_URL": redis_url}}
    (home / "state.json").write_text(json.dumps(state), encoding="utf-8")
    return home


def test_stack_is_found_from_folders_below_it(project: Path) -> None:
    settings = Settings.load()
    assert settings.stream == "redis://project"
    assert settings.orderworks_home == project / ".orderworks"
    assert settings.spool == f"file://{project}/.orderworks/spool"


def test_nearest_stack_is_used(project: Path) -> None:
    make_stack(project / "docs", "redis://docs")
    assert Settings.load().stream == "redis://docs"


def test_folder_of_the_current_folder_is_used_by_its_short_name(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert Settings.load().stream == "redis://project"
    assert Settings.load().orderworks_home == Path(".orderworks")


def test_orderworks_home_takes_precedence_over_folders_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("ORDERWORKS_HOME", str(make_stack(other, "redis://other")))
    assert Settings.load().stream == "redis://other"


def test_stack_of_another_user_above_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert Settings.load().redis_url is None


def test_a_file_of_that_name_is_no_stack(project: Path) -> None:
    (project / "docs" / ".orderworks").write_text("")
    assert Settings.load().stream == "redis://project"


def test_error_without_any_folder_names_the_one_checked_and_the_ways_to_name_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as raised:
        _ = Settings.load().stream
    message = str(raised.value)
    assert f"runs in {tmp_path}/.orderworks, and no folder above has" in message
    assert "change to its folder or one below it, or set ORDERWORKS_HOME" in message


def test_error_names_the_folder_above_whose_stack_does_not_run(project: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        _ = Settings.load().database
    assert f"no embedded stack runs in {project}/.orderworks: " in str(raised.value)


def test_deleted_current_folder_has_no_stack(project: Path) -> None:
    (project / "docs" / "figures").rmdir()
    assert Settings.load().redis_url is None
