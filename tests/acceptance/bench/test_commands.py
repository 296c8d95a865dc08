"""`orderworks bench` from a clone: real servers and workers of its own, figures as JSON.

One benchmark is run as users run it. The others are run in this process on one stack:
most of the time of a benchmark would be the start of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.cache import cached_reads
from bench.figures import Figures
from bench.gateway import gateway
from bench.report import publish
from bench.reports import changelog, reports
from bench.stack import BenchStack, open_stack
from bench.updates import drains, enqueue, latency, updates
from tests.support.processes import ROOT

ROWS = 2000

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


@pytest.fixture(scope="module")
def bench_stack() -> Iterator[BenchStack]:
    """A stack as a benchmark opens it, for those that are not run by their commands."""
    with open_stack(ROWS, gateway=True) as stack:
        yield stack


def bench(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `orderworks bench`."""
    return subprocess.run(
        [sys.executable, "-m", "orderworks_app", "bench", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def published(figures: Figures, folder: Path, picture: Path | None = None) -> list[dict[str, Any]]:
    """Publish the figures as a command does; the results of the document."""
    file = folder / "figures.json"
    publish(figures, file, picture)
    results: list[dict[str, Any]] = json.loads(file.read_bytes())["results"]
    return results


def by_name(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The results by the names of their sides."""
    return {each["name"]: each for each in results}


def check_document(
    file: Path, benchmark: str, sides: dict[str, int], output: str, progress: str
) -> None:
    """Check the figures of one round of some sides, and that the output and the progress name them."""
    figures = json.loads(file.read_bytes())
    assert figures["benchmark"] == benchmark
    assert {"cpu", "cpus", "memory", "system", "python", "postgresql"} == figures["machine"].keys()
    assert {each["name"]: each["count"] for each in figures["results"]} == sides
    for each in figures["results"]:
        assert len(each["rounds"]) == 1
        assert each["rate"] > 0
        assert each["name"] in output
        assert f"round 1 of 1: {each['name']} … " in progress
    assert figures["results"][0]["ratio"] == 1


def test_unwritable_output_file_is_rejected_before_measuring(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "figures.json"
    done = bench("imports", "--json", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"orderworks: {file}: cannot be written: No such file or directory\n"


def test_benchmark_starts_its_own_servers_and_writes_json(tmp_path: Path) -> None:
    nowhere = {
        "DATABASE_URL": "postgresql://me@127.0.0.1:1/mine",
        "REDIS_URL": "redis://127.0.0.1:1",
    }
    file = tmp_path / "figures.json"
    done = bench("imports", "--rows", str(ROWS), "--rounds", "1", "--json", str(file), **nowhere)
    assert done.returncode == 0, done.stderr
    check_document(file, "imports", SIDES, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("benchmark", "run", "sides"),
    [
        ("updates", partial(updates.run_on, count=5000, peers=False), SIDES_OF_UPDATES),
        ("enqueue", partial(enqueue.run_on, count=5000, peers=False), SIDES_OF_ENQUEUE),
        ("drains", partial(drains.run_on, count=5000), SIDES_OF_DRAINS),
        ("reports", partial(reports.run_on, changes=100), SIDES_OF_REPORTS),
        ("changelog", partial(changelog.run_on, count=5000), SIDES_OF_THE_LOG),
    ],
)
def test_benchmark_measures_every_side(
    bench_stack: BenchStack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    benchmark: str,
    run: Callable[..., Figures],
    sides: dict[str, int],
) -> None:
    figures = run(bench_stack, rounds=1)
    published(figures, tmp_path)
    check_document(tmp_path / "figures.json", benchmark, sides, *capsys.readouterr())


def test_cache_benchmark_reports_invalidations_and_saved_queries(
    bench_stack: BenchStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = cached_reads.run_on(bench_stack, values=10_000, reads=1000, rounds=1)
    picture = tmp_path / "figures.svg"
    results = by_name(published(figures, tmp_path, picture))
    output, _progress = capsys.readouterr()
    counts = {name: each["count"] for name, each in results.items() if "count" in each}
    assert counts == SIDES_OF_CACHE
    without, with_cache = (results.pop(f"mix {how} cache") for how in ("without", "with"))
    assert without["reads"] == without["queries"] == with_cache["reads"] == 950
    assert 0 < with_cache["queries"] < 95
    assert all(name in output and each["rate"] > 0 for name, each in results.items())
    assert f"saves {1 - with_cache['queries'] / 950:.1%} of the queries" in output
    assert picture.read_text().startswith("<?xml")


def test_gateway_benchmark_measures_local_and_delayed_clients(
    bench_stack: BenchStack, tmp_path: Path
) -> None:
    figures = gateway.run_on(bench_stack, count=5000, reads=1000, rounds=1)
    results = by_name(published(figures, tmp_path))
    assert {name: results.pop(name)["count"] for name in SIDES_OF_GATEWAY} == SIDES_OF_GATEWAY
    assert [*results] == [f"{ms} ms: {side}" for ms in (0, 1, 2, 5) for side in SIDES_OF_LOOKUPS]
    for name, each in results.items():
        round_trips = each["count"] if "one after another" in name else 1
        assert each["seconds"] > round_trips * int(name.partition(" ")[0]) / 1000


def test_update_latencies_are_measured_to_commit_and_plotted(
    bench_stack: BenchStack, tmp_path: Path
) -> None:
    picture = tmp_path / "figures.svg"
    figures = latency.run_on(bench_stack, seconds=0.1, rounds=1, peers=False)
    results = published(figures, tmp_path, picture)
    sides = ("Celery", "Orderworks, update()")
    loads = [(side, rate) for rate in (50, 1000, 10_000) for side in sides]
    assert [(each["name"], each["rate"]) for each in results] == loads
    assert all(0 < each["p50"] <= each["p99"] for each in results)
    assert picture.read_text().startswith("<?xml")
