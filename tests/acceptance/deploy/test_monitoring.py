"""A Prometheus with the configuration of deploy/ scrapes a gateway, and the dashboard finds data."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from orderworks.core.database import make_engine
from orderworks.core.settings import Settings
from orderworks_app.gateway.auth.scopes import Scope
from orderworks_app.gateway.auth.token_store import create_token
from tests.support.gateways import running_gateway
from tests.support.oracle import make_rows, write_orders
from tests.support.processes import ROOT, CeleryProcess, eventually
from tests.support.prometheus import Prometheus, promtool, running_prometheus

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = sorted({target["expr"] for panel in PANELS for target in panel["targets"]})

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prometheus(
    settings: Settings, worker_with_beat: CeleryProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A server that scrapes a gateway of a running system; it has a token of the scope `read`."""
    engine = make_engine(settings, "test")
    with engine.begin() as connection:
        token = create_token(connection, "prometheus", {Scope.READ})
    write_orders(engine, make_rows(10))
    engine.dispose()
    folder = tmp_path_factory.mktemp("monitoring") / "prometheus"
    with running_gateway(settings) as gateway, running_prometheus(folder, gateway, token) as server:
        yield server


def test_configuration_is_valid() -> None:
    promtool("check", "config", "--syntax-only", ROOT / "deploy" / "prometheus.yml")


def test_gateway_is_scraped_and_rules_are_loaded(prometheus: Prometheus) -> None:
    eventually(lambda: prometheus.query('up{job="orderworks"} == 1'), 30, "it is not scraped")
    (group,) = prometheus.get("rules")["groups"]
    assert len(group["rules"]) > 15
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}


@pytest.mark.parametrize("query", QUERIES)
def test_query_of_the_dashboard_finds_data(prometheus: Prometheus, query: str) -> None:
    if query == "orderworks_redis_memory_limit_bytes > 0":
        query = query.removesuffix(" > 0")  # no server of this test has a limit
    query = query.replace("$__rate_interval", "1m")
    eventually(lambda: prometheus.query(query), 60, "no data")


def test_panels_have_titles_descriptions_and_the_chosen_datasource() -> None:
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["description"]
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23


def test_runbook_of_each_alert_exists(prometheus: Prometheus) -> None:
    (group,) = prometheus.get("rules")["groups"]
    for rule in group["rules"]:
        path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        titles = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE)
        assert anchor in {title.lower().replace(" ", "-") for title in titles}
