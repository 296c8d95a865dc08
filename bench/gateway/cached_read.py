"""A cached read through the gateway, beside an endpoint that does nothing on the same server software.

Both are one process of uvicorn with the same settings, and the same client asks both, with a token. The
gateway looks who asks, what for and how often, reads the cache, and writes its access log.
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
"""Of the rate of the empty endpoint, at the least."""


def measured(stack: BenchStack, token: str, count: int, rounds: int) -> list[Result]:
    """Both sides, with so many requests."""
    customer_id = int(stack.sample.orders["customer_id"][0])
    hit = f"{stack.settings.gateway_url}/v1/customers/{customer_id}"
    with served("-m", "bench.gateway.baseline_app") as port:
        return compare(
            rounds,
            Side(EMPTY, count, partial(ask, f"http://{LOOPBACK}:{port}/", token, count)),
            Side(HIT, count, partial(ask, hit, token, count)),
        )


def compared(results: list[Result]) -> str:
    """How a hit stands to the empty endpoint."""
    rates = {result.name: result.rate for result in results}
    return f"{HIT}, does {rates[HIT] / rates[EMPTY]:.2f} times an {EMPTY} (goal: {GOAL})"


def ask(url: str, token: str, count: int) -> float:
    """Seconds that so many requests took, all of which had the same answer.

    Raises:
        SideFailed: one had not.
    """
    command = [sys.executable, "-m", "bench.gateway.http_load", url, token, str(count)]
    done = subprocess.run(  # noqa: S603 - ours
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SideFailed(last_line(done.stderr))
    return float(done.stdout)
