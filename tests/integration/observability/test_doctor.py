"""Each check of `orderworks doctor` fails where it should, and names a remedy."""

from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

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
