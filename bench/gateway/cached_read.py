"""A cached read through the gateway, and an endpoint that does nothing on the same server software.

Both are one process of uvicorn with the same settings, and the same client sends requests with a token.
The gateway checks token, scope and rate, reads the cache, and writes its access log.
"""

import subprocess
import sys
from functools import partial

from bench import ROOT
from bench.alternate import Result, Side, SideFailed, compare
from bench.gateway.serving import served
from bench.stack import BenchStack
from bench.updates.workers import last_line
from orderworks_app.embedded.ports import LOOPBACK

EMPTY, HIT = "empty endpoint of FastAPI", "GET /v1/customers/{id}, cached"

GOAL = 0.5
"""Minimum rate of the cached read, as a share of the empty endpoint's."""


def measured(stack: BenchStack, token: str, count: int, rounds: int) -> list[Result]:
    """Measure both sides with `count` requests."""
    customer_id = int(stack.sample.orders["customer_id"][0])
    hit = f"{stack.settings.gateway_url}/v1/customers/{customer_id}"
    with served("-m", "bench.gateway.baseline_app") as port:
        return compare(
            rounds,
            Side(EMPTY, count, partial(run_http_load, f"http://{LOOPBACK}:{port}/", token, count)),
            Side(HIT, count, partial(run_http_load, hit, token, count)),
        )


def comparison(results: list[Result]) -> str:
    """Return a note with the rate of the cached read relative to that of the empty endpoint."""
    rates = {result.name: result.rate for result in results}
    return f"{HIT}, does {rates[HIT] / rates[EMPTY]:.2f} times an {EMPTY} (goal: {GOAL})"


def run_http_load(url: str, token: str, count: int) -> float:
    """Send `count` requests from a process of its own; return its seconds.

    Raises:
        SideFailed: a response differed from the first one.
    """
    command = [sys.executable, "-m", "bench.gateway.http_load", url, token, str(count)]
    done = subprocess.run(  # noqa: S603 - a program of the benchmarks
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SideFailed(last_line(done.stderr))
    return float(done.stdout)
