"""The status of all services, and their current figures as events."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from orderworks_app.gateway.dependencies.authorize import Scope, requires, still_authorized
from orderworks_app.gateway.dependencies.current import ResourcesDep
from orderworks_app.gateway.http.openapi import response_docs
from orderworks_app.gateway.http.responses import json_response
from orderworks_app.gateway.streaming.overview import Overview
from orderworks_app.gateway.streaming.sse import EventStream, encode_event, event_docs
from orderworks_app.observability.status import Status

router = APIRouter(prefix="/v1", tags=["overview"], dependencies=[Depends(requires(Scope.READ))])


STATUS = {
    "healthy": True,
    "parts": [{"name": "postgresql", "healthy": True, "detail": "answers, version 18.6"}],
    "updates": {"waiting": 0, "lag_seconds": 0.0, "accepted": 2, "applied": 2},
    "imports": {"done": 1},
    "cache": {"hit": 98, "miss": 2, "hit_rate": 0.98},
    "invalidation": {"worker": {"count": 2, "p50": 0.0004, "p99": 0.0006, "longest": 0.0006}},
}

OVERVIEW = {
    "at": "2026-11-26T15:00:00Z",
    "away": ["postgresql"],
    "updates": None,
    "stream": {"waiting": 0, "lag_seconds": 0.0},
    "imports": None,
    "cache": None,
    "beat": None,
    "dead": None,
    "report": {"as_of": "2026-11-26T14:59:40Z", "age_seconds": 20.0},
}


@router.get(
    "/status",
    operation_id="status",
    responses=response_docs(200, "The services, and the work that waits.", Status, STATUS),
)
async def status(resources: ResourcesDep) -> Response:
    """The document of `orderworks status --json`, at most 2 s old (`Age`); 200 even if unhealthy."""
    age, document = await resources.streams.status()
    return json_response(document, headers={"Age": str(round(age))})


@router.get(
    "/overview/events",
    operation_id="overview_events",
    response_class=StreamingResponse,
    responses=event_docs("Events `overview`.", Overview, encode_event("overview", 1, OVERVIEW)),
)
async def overview_events(request: Request, resources: ResourcesDep) -> Response:
    """Current figures as server-sent events: one at once, then one per second, without end.

    The figures of an unavailable server are null, and `away` names it.
    """
    events = resources.streams.overview()
    return EventStream(events, still_authorized(request, Scope.READ), resources.streams.slots)
