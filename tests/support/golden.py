"""Golden files: what the outside relies on, a fact a line, compared with what the code does now."""

import difflib
import os
from collections.abc import Iterable

import pytest

from tests.support.processes import ROOT

GOLDEN = ROOT / "tests" / "golden"

REWRITES = os.environ.get("ORDERWORKS_GOLDEN") == "write"
"""True if the files are to be replaced by what the code does, instead of compared with it."""

WHAT_TO_DO = (
    "Callers, running processes or stored data rely on this. If the change is meant, run the test "
    "again with ORDERWORKS_GOLDEN=write, and commit the new file with the reason."
)


def compare(name: str, facts: Iterable[str]) -> None:
    """Fail with the difference unless the golden file holds exactly these lines."""
    file, found = GOLDEN / name, [*facts]
    assert found, "there is nothing to compare"
    if REWRITES:
        file.write_text("\n".join(found) + "\n", encoding="utf-8")
    frozen = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    if found != frozen:
        lines = difflib.unified_diff(frozen, found, f"golden/{name}", "now", lineterm="")
        pytest.fail("\n".join([*lines, "", WHAT_TO_DO]), pytrace=False)
