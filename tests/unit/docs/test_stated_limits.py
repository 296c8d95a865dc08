"""The documents state which accepted updates a failure of the stream's server can lose."""

import re

import pytest

from tests.support.processes import ROOT


@pytest.mark.parametrize("page", ["README.md", "docs/operations.md"])
def test_limits_state_the_loss_by_a_late_fsync_and_the_remedy(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    (limits,) = re.findall(r"^## Limits\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    sentences = " ".join(limits.split())
    for statement in ("while an fsync", "late", "2 s", "`durable=True`"):
        assert statement in sentences


@pytest.mark.parametrize("page", ["README.md", "docs/failures.md"])
def test_no_row_about_a_killed_server_promises_every_update(page: str) -> None:
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if "updates are in its append-only file" in line]
    assert rows
    assert all("slow" in row or "late" in row for row in rows)
