"""Whether the gateway lives, and whether what it needs answers. Asked without a token."""

import asyncio
from collections.abc import Awaitable
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from orderworks.gateway.answers import answer
from orderworks.gateway.state import State, state_of

router = APIRouter(tags=["health"])

PATIENCE = 2.0
"""Seconds that a server has to answer."""


@router.get("/healthz", operation_id="healthz")
async def healthz() -> Response:
    """Whether the process lives. It asks no server."""
    return answer({"status": "ok"})


@router.get("/readyz", operation_id="readyz")
async def readyz(state: Annotated[State, Depends(state_of)]) -> Response:
    """Whether all servers that requests need answer; 503 names those that do not."""
    names = ("postgresql", "stream", "cache")
    asked = (state.pool.fetch("SELECT 1"), state.stream.ping(), state.published.ping())
    found = dict(zip(names, await asyncio.gather(*map(_answers, asked)), strict=True))
    ready = all(found.values())
    servers = {name: "ok" if well else "away" for name, well in found.items()}
    document = {"status": "ok" if ready else "unavailable", "servers": servers}
    return answer(document, 200 if ready else 503)


async def _answers(asked: Awaitable[object]) -> bool:
    try:
        await asyncio.wait_for(asked, PATIENCE)
    except Exception:  # noqa: BLE001 - whatever a driver raises, the server does not answer
        return False
    return True
