"""`orderworks bench` from a clone: real servers and workers of its own, figures as JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

SIDES = {
    "\\copy": 2000,
    "\\copy of two halves at once": 2000,
    "import into the empty table": 2000,
    "import with every total changed": 2000,
    "import of the same again": 2000,
    "import with 1 % of bad rows": 2000,
}


SIDES_OF_UPDATES = {
    "a transaction an update, in a loop": 200,
    "bare loop, no job system": 5000,
    "Orderworks": 5000,
}


SIDES_OF_ENQUEUE = {
    "Celery": 200,
    "Orderworks, update()": 1000,
    "Orderworks, update_many()": 5000,
}


SIDES_OF_CACHE = {
    "bare HGET": 1000,
    "cached read": 1000,
    "bare UNLINK of the same keys": 100,
    "invalidate": 100,
    "one SCAN over all keys": 100,
    "KEYS a customer": 3,
}


SIDES_OF_REPORTS = {
    "2,000 orders: refresh": 1,
    "2,000 orders: GROUP BY, all windows": 1,
    "2,000 orders: materialized view, refreshed": 1,
    "2,000 orders: materialized view, refreshed concurrently": 1,
    "2,000 orders: one report by its query": 1,
    "2,000 orders: one report as published": 2000,
}

SIDES_OF_THE_LOG = {
    "drain without the log": 5000,
    "drain without invalidation": 5000,
    "drain": 5000,
    "fold of the log of a drain": 5000,
    "drain, with folds until the log is empty": 5000,
    "import without the log": 2000,
    "import": 2000,
}
SIDES_OF_GATEWAY = {
    "update_many": 5000,
    "POST /v1/orders:batch": 5000,
    "empty endpoint of FastAPI": 1000,
    "GET /v1/customers/{id}, cached": 1000,
}

SIDES_OF_LOOKUPS = (
    "psycopg2, one after another",
    "asyncpg, one after another",
    "asyncpg, gathered over a pool",
    "POST /v1/customers:lookup",
)


SIDES_OF_DRAINS = {"1 drain": 5000, "2 drains": 5000, "4 drains": 5000}


@pytest.mark.parametrize(
    ("benchmark", "options", "sides"),
    [
        ("imports", [], SIDES),
        ("updates", ["--updates", "5000"], SIDES_OF_UPDATES),
        ("enqueue", ["--updates", "5000"], SIDES_OF_ENQUEUE),
        ("drains", ["--updates", "5000"], SIDES_OF_DRAINS),
        ("reports", ["--changes", "100"], SIDES_OF_REPORTS),
        ("changelog", ["--updates", "5000"], SIDES_OF_THE_LOG),
    ],
)
def test_import_benchmark_starts_its_own_servers_and_writes_json(
    tmp_path: Path, benchmark: str, options: list[str], sides: dict[str, int]
) -> None:
    file = tmp_path / "figures.json"
    size = ["--rows", "2000", "--rounds", "1", *options, "--json", str(file)]
    nowhere = {
        "DATABASE_URL": "postgresql://me@127.0.0.1:1/mine",
        "REDIS_URL": "redis://127.0.0.1:1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "orderworks_app", "bench", benchmark, *size],
        cwd=ROOT,
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_bytes())
    assert figures["benchmark"] == benchmark
    assert {"cpu", "cpus", "memory", "system", "python", "postgresql"} == figures["machine"].keys()
    assert {each["name"]: each["count"] for each in figures["results"]} == sides
    for each in figures["results"]:
        assert len(each["rounds"]) == 1
        assert each["rate"] > 0
        assert each["name"] in done.stdout
        assert f"round 1 of 1: {each['name']} … " in done.stderr
    assert figures["results"][0]["ratio"] == 1


@pytest.mark.timeout(300)
def test_cache_benchmark_reports_invalidations_and_saved_queries(tmp_path: Path) -> None:
    file, picture = tmp_path / "figures.json", tmp_path / "figures.svg"
    size = ["--rows", "2000", "--values", "10000", "--reads", "1000", "--rounds", "1"]
    output = ["--json", str(file), "--plot", str(picture)]
    done = subprocess.run(
        [sys.executable, "-m", "orderworks_app", "bench", "cache", *size, *output],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = {each["name"]: each for each in json.loads(file.read_bytes())["results"]}
    counts = {name: each["count"] for name, each in results.items() if "count" in each}
    assert counts == SIDES_OF_CACHE
    without, with_cache = (results.pop(f"mix {how} cache") for how in ("without", "with"))
    assert without["reads"] == without["queries"] == with_cache["reads"] == 950
    assert 0 < with_cache["queries"] < 95
    assert all(name in done.stdout and each["rate"] > 0 for name, each in results.items())
    assert f"saves {1 - with_cache['queries'] / 950:.1%} of the queries" in done.stdout
    assert picture.read_text().startswith("<?xml")


@pytest.mark.timeout(300)
def test_gateway_benchmark_measures_local_and_delayed_clients(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    size = ["--rows", "2000", "--updates", "5000", "--reads", "1000", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "orderworks_app", "bench", "gateway", *size, "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = {each["name"]: each for each in json.loads(file.read_bytes())["results"]}
    assert {name: results.pop(name)["count"] for name in SIDES_OF_GATEWAY} == SIDES_OF_GATEWAY
    assert [*results] == [f"{ms} ms: {side}" for ms in (0, 1, 2, 5) for side in SIDES_OF_LOOKUPS]
    for name, each in results.items():
        round_trips = each["count"] if "one after another" in name else 1
        assert each["seconds"] > round_trips * int(name.partition(" ")[0]) / 1000


@pytest.mark.timeout(300)
def test_update_latencies_are_measured_to_commit_and_plotted(tmp_path: Path) -> None:
    file, picture = tmp_path / "figures.json", tmp_path / "figures.svg"
    size = ["--rows", "4000", "--seconds", "0.3", "--rounds", "1"]
    output = ["--json", str(file), "--plot", str(picture)]
    done = subprocess.run(
        [sys.executable, "-m", "orderworks_app", "bench", "latency", *size, *output],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_bytes())["results"]
    sides = ("Celery", "Orderworks, update()")
    loads = [(side, rate) for rate in (50, 1000, 10_000) for side in sides]
    assert [(each["name"], each["rate"]) for each in results] == loads
    assert all(0 < each["p50"] <= each["p99"] for each in results)
    assert picture.read_text().startswith("<?xml")


def test_unwritable_output_file_is_rejected_before_measuring(
    tmp_path: Path,
) -> None:
    file = tmp_path / "nowhere" / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "orderworks_app", "bench", "imports", "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"orderworks: {file}: cannot be written: No such file or directory\n"
