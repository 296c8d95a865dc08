"""Any process of `up` that is killed is restarted within 30 s, and none of its children remains."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import psutil
import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from orderworks_app.embedded.plan import SERVERS
from orderworks_app.embedded.process import is_alive
from tests.support.processes import eventually
from tests.support.stack_process import StackProcess, new_home, up

SERVICES = ("worker-updates", "worker-imports", "beat", "flower", "gateway")


@pytest.fixture(scope="module")
def everything() -> Iterator[StackProcess]:
    """A complete `orderworks up`."""
    with new_home() as home, up(home, parts=None) as stack:
        stack.wait_until_up({*SERVERS, *SERVICES}, 60)
        yield stack
        assert stack.stop() == 0, stack.said()


@pytest.mark.xdist_group("up")
@pytest.mark.parametrize("service", [*sorted(SERVERS), *SERVICES])
def test_killed_service_is_restarted_within_30_seconds(
    everything: StackProcess, service: str
) -> None:
    pid = everything.pid(service)
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    said = everything.said().count(f"{service} ready")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: f"{service} restarting: it was killed by signal 9" in everything.said(), 5)
    eventually(lambda: everything.said().count(f"{service} ready") > said, 30)
    assert everything.pid(service) != pid
    eventually(lambda: not any(is_alive(process) for process in family), 1)


@pytest.mark.xdist_group("up")
def test_workers_reconnect_after_broker_kill(everything: StackProcess) -> None:
    os.kill(everything.pid("valkey"), signal.SIGKILL)
    with Celery(broker=everything.environment()["CELERY_BROKER_URL"], set_as_current=False) as app:
        eventually(lambda: answers(app) >= 2, 30)


@pytest.mark.xdist_group("up")
def test_gateway_of_up_accepts_updates_and_appears_in_status(everything: StackProcess) -> None:
    address = everything.environment()["GATEWAY_URL"]
    accepted = httpx.post(f"{address}/v1/orders/1", json={"total": "5.00", "customer_id": 1})
    assert accepted.status_code == 202
    command = [sys.executable, "-m", "orderworks_app", "status", "--json"]
    environment = {**os.environ, "ORDERWORKS_HOME": str(everything.home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    parts = {service["name"]: service for service in json.loads(done.stdout)["parts"]}
    assert parts["gateway"]["healthy"], parts
    assert address in parts["gateway"]["detail"]


def answers(app: Celery) -> int:
    """Number of workers that answer now; 0 without a broker."""
    try:
        return len(app.control.ping(timeout=1) or ())
    except (OperationalError, OSError):
        return 0
