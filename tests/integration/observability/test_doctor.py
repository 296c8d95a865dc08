"""Each check of `orderworks doctor` fails where it should, and names a remedy."""

from pathlib import Path
from urllib.parse import urlsplit

from orderworks.core.settings import Settings


def failed(settings: Settings) -> dict[str, str]:
    """The checks that fail, each with what was observed and the remedy."""
    # It imports celeryconfig, which reads the address of the broker from the test's environment.
    from orderworks_app.observability.doctor import run_checks  # noqa: PLC0415 - see above

    findings = run_checks(settings)
    return {each.check: f"{each.observed}; {each.remedy}" for each in findings if not each.ok}


def test_manifest_that_was_set_aside_is_named(settings: Settings) -> None:
    usual = failed(settings)
    damaged = Path(urlsplit(settings.spool).path) / "damaged"
    damaged.mkdir(parents=True)
    (damaged / "one.json").write_bytes(b"{")
    found = failed(settings)
    assert set(found) - set(usual) == {"every accepted import can be planned"}
    assert "1 manifests are set aside: one" in found["every accepted import can be planned"]
