"""The oldest supported PostgreSQL. Collected where its binaries are installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderworks.core.server_version import OLDEST, server_version
from orderworks.core.settings import Settings
from tests.support.databases import Databases, databases_on
from tests.support.flows import run_all_flows
from tests.support.postgresql import binaries_15


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    """Databases on that server."""
    binaries = binaries_15()
    assert binaries
    with databases_on(binaries) as made:
        yield made


def test_all_flows_run_on_the_oldest_supported_postgresql(
    settings: Settings, engine: sa.Engine, folder: Path
) -> None:
    with engine.connect() as connection:
        assert server_version(connection).startswith(f"{OLDEST}.")
    run_all_flows(settings, engine, folder)
