"""The resources of the process that answers a request."""

from typing import Annotated, cast

from fastapi import Depends, Request

from orderworks_app.gateway.resources import GatewayResources


def current_resources(request: Request) -> GatewayResources:
    """Return the resources that the running application has opened."""
    return cast("GatewayResources", request.app.state.gateway)


async def _resources(request: Request) -> GatewayResources:
    """Do the same as a dependency: a coroutine, because FastAPI runs functions in a thread."""
    return current_resources(request)


ResourcesDep = Annotated[GatewayResources, Depends(_resources)]
"""A parameter of routes that receives the resources."""
