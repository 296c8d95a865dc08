"""`orderworks gateway` and `orderworks token` as a person types them."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import httpx
import psutil
import pytest
import sqlalchemy as sa

from orderworks.core.schema import api_tokens
from orderworks.core.settings import Settings
from orderworks_app.embedded.ports import LOOPBACK
from tests.support.commands import RunCommand
from tests.support.processes import eventually

COMMAND = (sys.executable, "-m", "orderworks_app", "gateway")


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command, in a process of its own; killed if it did not end before the block does."""
    with subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def answers(address: str) -> bool:
    """Return whether the gateway at an address reports that all its servers answer."""
    try:
        return httpx.get(f"{address}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("workers", ["1", "2"])
def test_gateway_serves_requests_and_shuts_down_cleanly(
    settings: Settings, gateway_port: int, workers: str
) -> None:
    address = f"http://{LOOPBACK}:{gateway_port}"
    with started("--port", str(gateway_port), "--workers", workers) as process:
        eventually(lambda: answers(address), within=90)
        accepted = httpx.post(f"{address}/v1/orders/1", json={"status": "paid"})
        assert accepted.status_code == 202
        process.send_signal(signal.SIGTERM)
        assert process.stderr
        lines = [json.loads(line) for line in process.stderr.read().splitlines()]
        assert process.wait(timeout=20) == 0
    requests = [line for line in lines if line["event"] == "request" and line["method"] == "POST"]
    assert [(line["path"], line["status"]) for line in requests] == [("/v1/orders/1", 202)]
    assert requests[0]["request_id"] == accepted.headers["X-Request-ID"]
    assert not answers(address)


def test_public_address_requires_a_token(run: RunCommand, gateway_port: int) -> None:
    everywhere = ("--host", "0.0.0.0", "--port", str(gateway_port))  # noqa: S104 - what is tested
    refused = run("gateway", *everywhere)
    assert refused.status == 2
    assert "orderworks token create" in refused.err
    run("token", "create", "shop", "--scope", "enqueue")
    with started(*everywhere):
        eventually(lambda: answers(f"http://{LOOPBACK}:{gateway_port}"), within=90)


def test_gateway_raises_its_limit_of_open_files(settings: Settings, gateway_port: int) -> None:
    """Each connection takes one, and many shells allow few."""
    few = ("sh", "-c", 'ulimit -S -n 256 && exec "$@"', "sh")
    command = [*few, *COMMAND, "--port", str(gateway_port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: answers(f"http://{LOOPBACK}:{gateway_port}"), within=90)
            soft, hard = psutil.Process(process.pid).rlimit(psutil.RLIMIT_NOFILE)
        finally:
            process.kill()
    assert soft == hard
    assert hard != 256, "the shell lowered only the soft limit"


@contextmanager
def followed(address: str, token: str, path: str) -> Iterator[Iterator[str]]:
    """The lines of a stream of events that has begun."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.stream("GET", f"{address}{path}", headers=headers, timeout=30) as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines()
        assert next(lines).startswith("retry: ")
        yield lines


def test_event_stream_ends_soon_after_its_token_is_revoked(
    run: RunCommand, gateway_port: int
) -> None:
    """The overview, which has an event each second, and an import without any events."""
    address, scopes = f"http://{LOOPBACK}:{gateway_port}", ("--scope", "read", "--scope", "enqueue")
    with started("--port", str(gateway_port)):
        eventually(lambda: answers(address), within=90)
        gone, stays = (
            run("token", "create", f"to-{name}", *scopes).out.strip() for name in ("go", "stay")
        )
        accepted = httpx.post(
            f"{address}/v1/imports",
            content=b"id,name\n1,Ada\n",
            params={"kind": "customers"},
            headers={"Content-Type": "text/csv", "Authorization": f"Bearer {gone}"},
        )
        silent = f"{accepted.headers['Location']}/events"
        with (
            followed(address, gone, "/v1/overview/events") as overview,
            followed(address, gone, silent) as following,
            followed(address, stays, silent) as others,
        ):
            run("token", "revoke", "to-go")
            start = time.monotonic()
            assert all(time.monotonic() - start < 15 for _ in chain(overview, following))
            assert next(line for line in others if line.startswith(": "))


def test_tokens_are_created_listed_and_revoked(run: RunCommand) -> None:
    token = run("token", "create", "a", "--scope", "read", "--scope", "enqueue").out.strip()
    assert token.startswith("ow_")
    assert run("token", "create", "a", "--scope", "read").status == 2
    assert run("token", "create", "other").status == 2
    created = json.loads(
        run("token", "create", "b", "--scope", "read", "--rate", "5", "--json").out
    )
    assert created["name"] == "b"
    assert run("token", "revoke", "a").status == 0
    assert run("token", "revoke", "nobody").status == 2
    listed = run("token", "list")
    assert token not in listed.out
    documents = json.loads(run("token", "list", "--json").out)["tokens"]
    valid = {each["name"]: each["revoked_at"] is None for each in documents}
    assert (valid["a"], valid["b"]) == (False, True)


def test_revoking_the_last_token_names_the_command_that_opens_the_gateway(
    run: RunCommand, engine: sa.Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(api_tokens))
    for name in ("first", "last"):
        run("token", "create", name, "--scope", "read")
    assert "token reset" not in run("token", "revoke", "first").out
    assert run("token", "reset").status == 2
    assert "`orderworks token reset`" in run("token", "revoke", "last").out
    assert run("token", "reset").out.startswith("Deleted 2 revoked tokens.")
    assert json.loads(run("token", "list", "--json").out) == {"tokens": []}
