"""Liveness and readiness of the gateway. These routes need no token."""

import asyncio
from collections.abc import Awaitable

import msgspec
from fastapi import APIRouter
from fastapi.responses import Response

from orderworks_app.gateway.dependencies.current import ResourcesDep
from orderworks_app.gateway.http.openapi import response_docs
from orderworks_app.gateway.http.responses import json_response

router = APIRouter(tags=["health"])

CHECK_TIMEOUT = 2.0
"""Seconds that a server has to answer."""

READY_EXAMPLE = {"postgresql": "ok", "stream": "ok", "cache": "ok"}


class Alive(msgspec.Struct, frozen=True):
    """The process is running."""

    status: str


class Ready(msgspec.Struct, frozen=True):
    """The state of each server: `ok`, or `away` if it does not answer."""

    status: str
    servers: dict[str, str]


@router.head("/healthz", include_in_schema=False)
@router.get(
    "/healthz",
    operation_id="read_liveness",
    responses=response_docs(200, "It is running.", Alive, {"status": "ok"}),
)
async def healthz() -> Response:
    """Liveness of the process. No server is asked."""
    return json_response(Alive("ok"))


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    operation_id="read_readiness",
    responses=response_docs(200, "All answer.", Ready, {"status": "ok", "servers": READY_EXAMPLE})
    | response_docs(
        503,
        "Some do not.",
        Ready,
        {"status": "unavailable", "servers": {**READY_EXAMPLE, "postgresql": "away"}},
    ),
)
async def readyz(resources: ResourcesDep) -> Response:
    """Readiness: 200 if all servers that requests need answer; else 503, which names the others."""
    names = ("postgresql", "stream", "cache")
    checks = (
        resources.pool.fetch("SELECT 1"),
        resources.stream.ping(),
        resources.published.ping(),
    )
    results = await asyncio.gather(*map(_answers, checks))
    servers = {
        name: "ok" if result else "away" for name, result in zip(names, results, strict=True)
    }
    ready = all(results)
    return json_response(Ready("ok" if ready else "unavailable", servers), 200 if ready else 503)


async def _answers(check: Awaitable[object]) -> bool:
    try:
        await asyncio.wait_for(check, CHECK_TIMEOUT)
    except Exception:  # noqa: BLE001 - any error of a driver means that the server does not answer
        return False
    return True
