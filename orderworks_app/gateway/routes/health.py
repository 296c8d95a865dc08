"""Whether the gateway lives, and whether what it needs answers. Asked without a token."""

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
    """The process lives."""

    status: str


class Ready(msgspec.Struct, frozen=True):
    """Whether each server answers: "ok" or "away"."""

    status: str
    servers: dict[str, str]


@router.head("/healthz", include_in_schema=False)
@router.get(
    "/healthz",
    operation_id="read_liveness",
    responses=response_docs(200, "It lives.", Alive, {"status": "ok"}),
)
async def healthz() -> Response:
    """Whether the process lives. It asks no server."""
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
    """Whether all servers that requests need answer; 503 names those that do not."""
    names = ("postgresql", "stream", "cache")
    asked = (resources.pool.fetch("SELECT 1"), resources.stream.ping(), resources.published.ping())
    found = dict(zip(names, await asyncio.gather(*map(_answers, asked)), strict=True))
    ready = all(found.values())
    servers = {name: "ok" if well else "away" for name, well in found.items()}
    return json_response(Ready("ok" if ready else "unavailable", servers), 200 if ready else 503)


async def _answers(check: Awaitable[object]) -> bool:
    try:
        await asyncio.wait_for(check, CHECK_TIMEOUT)
    except Exception:  # noqa: BLE001 - whatever a driver raises, the server does not answer
        return False
    return True
