"""Whether the gateway lives, and whether what it needs answers. Asked without a token."""

import asyncio
from collections.abc import Awaitable
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from orderworks_app.gateway.http.openapi import gives
from orderworks_app.gateway.http.responses import answer
from orderworks_app.gateway.resources import State, state_of

router = APIRouter(tags=["health"])

PATIENCE = 2.0
"""Seconds that a server has to answer."""

ANSWERING = {"postgresql": "ok", "stream": "ok", "cache": "ok"}


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
    responses=gives(200, "It lives.", Alive, {"status": "ok"}),
)
async def healthz() -> Response:
    """Whether the process lives. It asks no server."""
    return answer(Alive("ok"))


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    operation_id="read_readiness",
    responses=gives(200, "All answer.", Ready, {"status": "ok", "servers": ANSWERING})
    | gives(
        503,
        "Some do not.",
        Ready,
        {"status": "unavailable", "servers": {**ANSWERING, "postgresql": "away"}},
    ),
)
async def readyz(state: Annotated[State, Depends(state_of)]) -> Response:
    """Whether all servers that requests need answer; 503 names those that do not."""
    names = ("postgresql", "stream", "cache")
    asked = (state.pool.fetch("SELECT 1"), state.stream.ping(), state.published.ping())
    found = dict(zip(names, await asyncio.gather(*map(_answers, asked)), strict=True))
    ready = all(found.values())
    servers = {name: "ok" if well else "away" for name, well in found.items()}
    return answer(Ready("ok" if ready else "unavailable", servers), 200 if ready else 503)


async def _answers(asked: Awaitable[object]) -> bool:
    try:
        await asyncio.wait_for(asked, PATIENCE)
    except Exception:  # noqa: BLE001 - whatever a driver raises, the server does not answer
        return False
    return True
