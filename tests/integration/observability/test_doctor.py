"""Each check of `orderworks doctor` fails where it should, and names a remedy."""

from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from tests.support.types import AcceptUpdates, DrainAll, WriteRows


def failed(settings: Settings) -> dict[str, str]:
    """The checks that fail, each with what was observed and the remedy."""
    # It imports celeryconfig, which reads the address of the broker from the test's environment.
    from orderworks_app.observability.doctor import run_checks  # noqa: PLC0415 - see above

    findings = run_checks(settings)
    return {each.check: f"{each.observed}; {each.remedy}" for each in findings if not each.ok}


def test_updates_that_mix_counters_with_the_order_of_acceptance_are_counted(
    settings: Settings, seed: WriteRows, accept: AcceptUpdates, drain: DrainAll
) -> None:
    usual = failed(settings)
    seed({1: (1, "new", Decimal("1.00"), 0), 2: (1, "new", Decimal("1.00"), 0)})
    accept([OrderUpdate(order_id=each, status="paid") for each in (1, 2)])
    drain()
    accept([OrderUpdate(order_id=2, status="sent", version=7)])
    drain()
    found = failed(settings)
    check = "no update mixes a counter with the order of acceptance"
    assert set(found) - set(usual) == {check}
    assert "1 updates had a counter as version" in found[check]
    assert "The last was of order 2; give a moment" in found[check]


def test_manifest_that_was_set_aside_is_named(settings: Settings) -> None:
    usual = failed(settings)
    damaged = Path(urlsplit(settings.spool).path) / "damaged"
    damaged.mkdir(parents=True)
    (damaged / "one.json").write_bytes(b"{")
    found = failed(settings)
    assert set(found) - set(usual) == {"every accepted import can be planned"}
    assert "1 manifests are set aside: one" in found["every accepted import can be planned"]


@pytest.mark.parametrize(("late", "findings"), [(1, 0), (2, 1)])
def test_disk_of_a_server_with_late_fsyncs_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, late: int, findings: int
) -> None:
    """One in the first hour may happen to any disk."""
    usual = failed(settings)
    info = Redis.info

    def with_late_fsyncs(client: Redis, *sections: str) -> dict[str, Any]:
        found: dict[str, Any] = info(client, *sections)
        return found | {"aof_delayed_fsync": late} if "aof_delayed_fsync" in found else found

    monkeypatch.setattr(Redis, "info", with_late_fsyncs)
    found = failed(settings)
    check = "the disk of the update stream is fast enough"
    named = [each for each in found.keys() - usual.keys() if each == check]
    assert len(named) == findings
    assert all(f"{late} fsyncs were late" in found[each] for each in named)
