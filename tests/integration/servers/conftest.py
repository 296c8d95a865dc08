"""Fixtures of tests with servers of a distribution."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.processes import BEAT_OFTEN


@pytest.fixture(scope="session")
def environment() -> Mapping[str, str]:
    """Variables of processes and tests: beat sends often, and a file has several chunks."""
    return {**BEAT_OFTEN, "IMPORT_CHUNK_ROWS": "500"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of processes."""
    return tmp_path / "run"
