"""The API of the gateway and the metrics, on which clients rely, are unchanged.

`test_surface.py` describes how to rewrite the golden files.
"""

import json
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from orderworks.cache.invalidation import Path, record
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.reports.rebuild import Rebuild
from orderworks.reports.refresh import refresh
from orderworks_app.cli.metrics import metrics as print_metrics
from orderworks_app.gateway.app import make_app
from tests.support.golden import compare
from worker.beat.entries import PlannedEntry, register

PROSE = {"description", "summary", "title", "example", "examples"}
"""Keys of the document that only people read."""

NAMED = {"paths", "properties", "responses", "schemas", "securitySchemes"}
"""Keys whose members are names."""


def test_the_openapi_document_is_unchanged(settings: Settings) -> None:
    document = make_app(settings).openapi()
    del document["info"]
    text = json.dumps(bare(document), indent=1, sort_keys=True)
    compare("openapi.json", text.splitlines())


def bare(node: Any, *, named: bool = False) -> Any:  # noqa: ANN401 - JSON
    """The document without its prose; lists have no order there that means anything."""
    if isinstance(node, dict):
        kept = {key: each for key, each in node.items() if named or key not in PROSE}
        return {key: bare(each, named=key in NAMED) for key, each in kept.items()}
    if isinstance(node, list):
        return sorted(map(bare, node), key=json.dumps)
    return node


@pytest.fixture
def _measured(engine: sa.Engine, cache: Redis, settings: Settings) -> None:
    """Give every metric a value."""
    refresh(engine, cache, lambda _ids: None, depth=10)
    for path in Path:
        record(cache, path, [0.001])
    with engine.begin() as connection:
        register(connection, [PlannedEntry("sweep", "tasks.upkeep.sweep", 5)])
    Rebuild(engine, lambda: None, lambda _what, _counted: None).run(settings.uncounted_statuses)


@pytest.mark.usefixtures("_measured")
def test_metrics_of_the_command_are_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics()
    compare("metrics.txt", metric_facts(capsys.readouterr().out))


@pytest.mark.usefixtures("_measured")
def test_metrics_of_the_gateway_are_those_of_the_command(http: httpx.Client) -> None:
    compare("metrics.txt", metric_facts(http.get("/metrics").text))


def metric_facts(text: str) -> list[str]:
    """Type and labels of each metric, without its help and its values."""
    facts = {
        f"{sample.name} {family.type} {{{', '.join(sorted(sample.labels))}}}"
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return sorted(facts)
