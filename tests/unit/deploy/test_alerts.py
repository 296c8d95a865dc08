"""deploy/alerts.yml uses existing metrics, and the documentation names every rule."""

import re
from typing import Any

import yaml

from orderworks_app.observability.metrics import DOCUMENTED
from tests.support.processes import ROOT

FILE = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [rule for group in FILE["groups"] for rule in group["rules"]]


def test_every_rule_uses_exported_metrics() -> None:
    for rule in RULES:
        asked = set(re.findall(r"orderworks_\w+", rule["expr"]))
        assert asked, rule["alert"]
        assert asked <= set(DOCUMENTED), rule["alert"]


def test_every_rule_has_severity_and_summary() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_documentation_covers_every_rule() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for rule in RULES:
        assert f"| `{rule['alert']}` |" in operations


def test_the_documentation_lists_every_metric() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for metric in DOCUMENTED:
        assert f"| `{metric}" in operations
