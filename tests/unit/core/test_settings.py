"""Settings: their sources, and the errors of invalid ones."""

import json
from pathlib import Path

import pytest

from orderworks.core.errors import ConfigurationError
from orderworks.core.settings import Settings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment without any of our variables, in an empty home."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    monkeypatch.setenv("ORDERWORKS_HOME", str(tmp_path))
    return tmp_path


def test_missing_address_error_names_variable_and_remedy() -> None:
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL is not set.*orderworks up"):
        _ = Settings.load().database


def test_invalid_value_error_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_POOL_SIZE", "many")
    with pytest.raises(ConfigurationError, match="^DB_POOL_SIZE: "):
        Settings.load()


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_POOL_SIZE", "")
    assert Settings.load().db_pool_size == Settings.model_fields["db_pool_size"].default


@pytest.mark.parametrize(
    ("given", "statuses"),
    [
        ("refunded", ("refunded",)),
        ("refunded, cancelled,refunded", ("cancelled", "refunded")),
        ("", ()),
        (" ", ()),
    ],
)
def test_excluded_statuses_are_a_list(
    monkeypatch: pytest.MonkeyPatch, given: str, statuses: tuple[str, ...]
) -> None:
    assert Settings.load().uncounted_statuses == ("cancelled",)
    monkeypatch.setenv("UNCOUNTED_STATUSES", given)
    assert Settings.load().uncounted_statuses == statuses


def test_excluded_statuses_can_come_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    named = tmp_path / "statuses"
    named.write_text("void,cancelled\n")
    monkeypatch.setenv("UNCOUNTED_STATUSES_FILE", str(named))
    assert Settings.load().uncounted_statuses == ("cancelled", "void")


@pytest.mark.parametrize("given", ["cancelled,,refunded", ",", "x" * 65])
def test_impossible_excluded_statuses_are_refused(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("UNCOUNTED_STATUSES", given)
    with pytest.raises(ConfigurationError, match=r"^UNCOUNTED_STATUSES: give statuses of 1 to 64"):
        Settings.load()


def test_secret_is_read_from_the_named_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "redis-url"
    secret.write_text("redis://:pw@host:1/0\n")
    monkeypatch.setenv("REDIS_URL_FILE", str(secret))
    assert Settings.load().stream == "redis://:pw@host:1/0"


def test_a_secret_file_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL_FILE", "/nowhere/secret")
    with pytest.raises(ConfigurationError, match=r"REDIS_URL_FILE: cannot read /nowhere/secret"):
        Settings.load()


def test_state_file_gives_addresses_of_the_embedded_stack(nothing_set: Path) -> None:
    state = {
        "environment": {"REDIS_URL": "redis://127.0.0.1:7/1", "DATABASE_URL": "postgresql://x"}
    }
    (nothing_set / "state.json").write_text(json.dumps(state))
    assert Settings.load().stream == "redis://127.0.0.1:7/1"


def test_environment_takes_precedence_over_the_embedded_stack(
    nothing_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nothing_set / "state.json").write_text(json.dumps({"environment": {"REDIS_URL": "redis://a"}}))
    monkeypatch.setenv("REDIS_URL", "redis://b")
    assert Settings.load().stream == "redis://b"


def test_damaged_state_file_error_names_the_remedy(nothing_set: Path) -> None:
    (nothing_set / "state.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"state\.json is damaged"):
        Settings.load()


def test_broker_and_cache_default_to_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://one")
    settings = Settings.load()
    assert (settings.broker, settings.cache) == ("redis://one", "redis://one")


def test_settings_text_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@host/db")
    assert "hunter2" not in repr(Settings.load())


@pytest.mark.parametrize("variable", ["REDIS_URL", "CACHE_REDIS_URL", "CELERY_BROKER_URL"])
@pytest.mark.parametrize(
    "address", ["sentinel://a:1;sentinel://b:1", "redis+cluster://a", "redis+sentinel://a"]
)
def test_addresses_of_several_servers_are_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, address: str
) -> None:
    monkeypatch.setenv(variable, address)
    with pytest.raises(ConfigurationError, match=f"^{variable}: .*address of a single server"):
        Settings.load()


FLOATS = [name for name, field in Settings.model_fields.items() if field.annotation is float]


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("given", ["inf", "-inf", "nan", "1e300", "-1"])
def test_impossible_number_is_refused_with_its_variable(
    name: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (name, given) == ("import_max_ratio", "1e300"):
        return  # A ratio has no largest value.
    monkeypatch.setenv(name.upper(), given)
    with pytest.raises(ConfigurationError, match=f"^{name.upper()}: '{given}' is "):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "given"),
    [("SWEEP_INTERVAL", "1e-9"), ("REPORT_INTERVAL", "0.01"), ("REDIS_TIMEOUT", "1e-9")],
)
def test_time_too_short_to_work_is_refused(
    name: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, given)
    with pytest.raises(ConfigurationError, match=f"^{name}: '{given}' is less than .*, the min"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        ("DB_POOL_SIZE", "many", "'many' is not a whole number"),
        ("GATEWAY_PORT", "99999", "'99999' is more than 65535, the maximum"),
        ("REPORT_INTERVAL", "soon", "'soon' is not a number"),
    ],
)
def test_error_of_a_setting_names_value_and_problem(
    name: str, given: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, given)
    with pytest.raises(ConfigurationError) as refused:
        Settings.load()
    assert str(refused.value) == f"{name}: {problem}"
