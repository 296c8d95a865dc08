"""deploy/alerts.yml: each rule fires when it should, uses existing metrics, and is documented."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from orderworks_app.observability.metrics import DOCUMENTED
from tests.support.processes import ROOT
from tests.support.prometheus import promtool

PATH = ROOT / "deploy" / "alerts.yml"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load(PATH.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

MINUTES = 30
"""The length of the series. The time of a test begins at 0."""

ALWAYS = f"x{MINUTES}"
NOW = f"0+60{ALWAYS}"
"""The series of a time stamp that is always the current time."""

HEALTHY = {
    **{f'orderworks_up{{server="{name}"}}': f"1+0{ALWAYS}" for name in ("postgresql", "stream")},
    'orderworks_stream_lag_seconds{shard="0"}': f"1+0{ALWAYS}",
    'orderworks_stream_entries{shard="0"}': f"500+0{ALWAYS}",
    "orderworks_stream_limit_entries": f"1000+0{ALWAYS}",
    'orderworks_redis_memory_bytes{server="stream"}': f"100+0{ALWAYS}",
    'orderworks_redis_memory_limit_bytes{server="stream"}': f"200+0{ALWAYS}",
    'orderworks_redis_memory_bytes{server="cache"}': f"199+0{ALWAYS}",
    'orderworks_redis_memory_limit_bytes{server="cache"}': f"200+0{ALWAYS}",
    'orderworks_redis_late_fsyncs_total{server="stream"}': f"3+0{ALWAYS}",
    'orderworks_beat_last_success_timestamp_seconds{entry="sweep"}': NOW,
    'orderworks_beat_period_seconds{entry="sweep"}': f"5+0{ALWAYS}",
    'orderworks_updates_total{shard="0",verdict="dead"}': f"7+0{ALWAYS}",
    'orderworks_updates_total{shard="0",verdict="applied"}': f"7+100{ALWAYS}",
    "orderworks_parked_overdue_seconds": f"1+0{ALWAYS}",
    "orderworks_parked_updates": f"50+0{ALWAYS}",
    "orderworks_blocking_seconds": f"5+0{ALWAYS}",
    "orderworks_outbox_lag_seconds": f"1+0{ALWAYS}",
    'orderworks_imports{status="failed"}': f"2+0{ALWAYS}",
    "orderworks_import_oldest_seconds": f"600+0{ALWAYS}",
    'orderworks_report_as_of_timestamp_seconds{window="all"}': NOW,
    "orderworks_change_log_rows": f"1000+0{ALWAYS}",
    'orderworks_rollup_drift_rows{table="customer_totals"}': f"0+0{ALWAYS}",
    "orderworks_last_rollup_check_timestamp_seconds": NOW,
}
"""Series with which no rule fires."""

FIRES: dict[str, dict[str, str | None]] = {
    "OrderworksServerAway": {'orderworks_up{server="postgresql"}': f"0+0{ALWAYS}"},
    "OrderworksMetricsMissing": dict.fromkeys(HEALTHY),
    "OrderworksUpdatesLate": {'orderworks_stream_lag_seconds{shard="0"}': f"31+0{ALWAYS}"},
    "OrderworksStreamFillsUp": {'orderworks_stream_entries{shard="0"}': f"701+0{ALWAYS}"},
    "OrderworksRedisFillsUp": {
        'orderworks_redis_memory_bytes{server="stream"}': f"141+0{ALWAYS}",
    },
    "OrderworksDiskLate": {'orderworks_redis_late_fsyncs_total{server="stream"}': f"3+1{ALWAYS}"},
    "OrderworksBeatSilent": {
        'orderworks_beat_last_success_timestamp_seconds{entry="sweep"}': f"0+0{ALWAYS}"
    },
    "OrderworksBeatUnknown": {
        'orderworks_beat_last_success_timestamp_seconds{entry="sweep"}': None
    },
    "OrderworksUpdatesDie": {'orderworks_updates_total{shard="0",verdict="dead"}': f"7+1{ALWAYS}"},
    "OrderworksParkedNotTried": {"orderworks_parked_overdue_seconds": f"121+0{ALWAYS}"},
    "OrderworksUpdatesParked": {"orderworks_parked_updates": f"101+0{ALWAYS}"},
    "OrderworksSessionBlocks": {"orderworks_blocking_seconds": f"61+0{ALWAYS}"},
    "OrderworksOutboxLate": {"orderworks_outbox_lag_seconds": f"61+0{ALWAYS}"},
    "OrderworksImportFailed": {'orderworks_imports{status="failed"}': f"2+1{ALWAYS}"},
    "OrderworksImportTakesLong": {"orderworks_import_oldest_seconds": f"7201+0{ALWAYS}"},
    "OrderworksReportOld": {
        'orderworks_report_as_of_timestamp_seconds{window="all"}': f"0+0{ALWAYS}"
    },
    "OrderworksChangeLogGrows": {"orderworks_change_log_rows": f"500001+0{ALWAYS}"},
    "OrderworksRollupsDrifted": {
        'orderworks_rollup_drift_rows{table="customer_totals"}': f"1+0{ALWAYS}"
    },
    "OrderworksRollupsUnchecked": {
        "orderworks_last_rollup_check_timestamp_seconds": f"-216000+0{ALWAYS}"
    },
}
"""The difference from `HEALTHY` with which a rule fires, and no other; None for a missing series."""


def case(name: str, differing: dict[str, str | None], firing: list[str]) -> dict[str, Any]:
    """A case of promtool: exactly these rules fire at the end of the series."""
    series = {**HEALTHY, **differing}
    return {
        "name": name,
        "interval": "1m",
        "input_series": [
            {"series": each, "values": values} for each, values in series.items() if values
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{MINUTES}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{each}"}}', "value": 1} for each in firing
                ],
            }
        ],
    }


@pytest.mark.slow
def test_each_rule_fires_alone_and_none_in_a_healthy_system(tmp_path: Path) -> None:
    cases = [case(name, differing, [name]) for name, differing in FIRES.items()]
    tests = {
        "rule_files": [str(PATH)],
        "evaluation_interval": "1m",
        "tests": [case("healthy", {}, []), *cases],
    }
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump(tests))
    assert set(FIRES) == {rule["alert"] for rule in RULES}
    promtool("test", "rules", path)


def test_every_rule_uses_exported_metrics() -> None:
    for rule in RULES:
        asked = set(re.findall(r"orderworks_\w+", rule["expr"]))
        assert asked, rule["alert"]
        assert asked <= set(DOCUMENTED), rule["alert"]


def test_every_rule_has_severity_summary_and_runbook() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == "docs/operations.md#when-a-rule-fires"
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    assert "\n### When a rule fires\n" in OPERATIONS


def test_documentation_covers_every_rule() -> None:
    for rule in RULES:
        assert f"| `{rule['alert']}` |" in OPERATIONS


def test_the_documentation_lists_every_metric() -> None:
    for metric in DOCUMENTED:
        assert f"| `{metric}" in OPERATIONS
