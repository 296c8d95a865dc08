"""Metrics, for a monitoring system."""

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from orderworks_app.gateway.dependencies.authorize import Scope, requires
from orderworks_app.gateway.dependencies.current import ResourcesDep

router = APIRouter(tags=["health"])

EXAMPLE = 'orderworks_up{server="postgresql"} 1.0\norderworks_parked_updates 0.0\n'


@router.get(
    "/metrics",
    operation_id="metrics",
    dependencies=[Depends(requires(Scope.READ))],
    response_class=Response,
    responses={
        200: {
            "description": "The metrics.",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": EXAMPLE}},
        }
    },
)
async def metrics(resources: ResourcesDep) -> Response:
    """The metrics in Prometheus' text format, as `orderworks metrics` prints them.

    Of an unavailable server, orderworks_up is 0 and the other metrics are missing.
    """
    text = await resources.in_thread(generate_latest, resources.blocking.metrics)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
