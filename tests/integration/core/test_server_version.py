"""A PostgreSQL that is too old is refused with a sentence."""

import pytest
import sqlalchemy as sa

from migrations import runner
from orderworks.core import server_version
from orderworks.core.errors import ConfigurationError
from orderworks.core.settings import Settings
from worker import lifecycle

NEXT = 99
"""A version that no server has yet: with it as the oldest one, every server is too old."""

TOO_OLD = (
    rf"^(orderworks: )?PostgreSQL \d+\.\d+ is too old: Orderworks needs version {NEXT} or newer$"
)


@pytest.fixture
def too_old(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a server that is too old."""
    monkeypatch.setattr(server_version, "OLDEST", NEXT)
    return settings


@pytest.mark.usefixtures("too_old")
def test_migrations_refuse_an_old_server() -> None:
    with pytest.raises(ConfigurationError, match=TOO_OLD):
        runner.upgrade()


@pytest.mark.usefixtures("too_old")
def test_worker_ends_at_its_start_with_an_old_server() -> None:
    with pytest.raises(SystemExit, match=TOO_OLD):
        lifecycle._refuse_old_server()  # noqa: SLF001 - what a signal of Celery calls


def test_worker_starts_while_postgresql_is_unavailable(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.database
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    lifecycle._refuse_old_server()  # noqa: SLF001 - as above


def test_doctor_names_the_version_that_is_needed(too_old: Settings) -> None:
    # It imports celeryconfig, which needs addresses.
    from orderworks_app.observability.doctor import run_checks  # noqa: PLC0415 - see above

    findings = {each.observed: each for each in run_checks(too_old)}
    engine_version = next(each for each in findings if each.startswith("version "))
    assert not findings[engine_version].ok
    assert "upgrade the server" in findings[engine_version].remedy


def test_supported_server_is_accepted(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        server_version.require_supported_version(connection)
