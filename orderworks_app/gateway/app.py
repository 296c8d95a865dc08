"""The ASGI application: routes, middleware, and the resources of the process.

FastAPI is used for three things: routing, dependencies with the validation of path and query
parameters, and the frame of the OpenAPI document. The rest is ours: bodies and responses are msgspec's
(`http/responses.py`), schemas and examples of them come from `http/openapi.py`, errors are problem
documents (`http/problems.py`), `/docs` is a page without scripts (`routes/docs.py`), and cached reads
bypass the solving of dependencies (`http/fast_route.py`).
"""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from orderworks.core import logging
from orderworks.core.settings import Settings
from orderworks_app.gateway.http.middleware import GatewayMiddleware
from orderworks_app.gateway.http.openapi import describe
from orderworks_app.gateway.http.problems import handle_error
from orderworks_app.gateway.resources import GatewayResources
from orderworks_app.gateway.routes import ROUTERS, STREAMED

GC_THRESHOLD = 10_000
"""New objects after which the garbage collector runs; Python's default is 700."""


def make_app(settings: Settings) -> FastAPI:
    """Create the gateway for the servers of the settings. It opens no connection before its start."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with GatewayResources.running(settings) as resources:
            app.state.gateway = resources
            yield

    app = FastAPI(
        title="Orderworks",
        version=version("orderworks"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # A redirect loses the body, and clients of an API need none.
        redirect_slashes=False,
        exception_handlers={
            HTTPException: handle_error,
            RequestValidationError: handle_error,
        },
    )
    app.openapi = lambda: dict(describe(app))  # type: ignore[method-assign]  # as FastAPI documents it
    app.add_middleware(GatewayMiddleware, settings=settings, streamed=STREAMED)
    for router in ROUTERS:
        # FastAPI matches an included router's routes twice for each request; those of the app, once.
        app.router.routes.extend(router.routes)
    return app


def app_of_environment() -> FastAPI:
    """Create the gateway from environment variables; each server process calls this."""
    logging.configure()
    app = make_app(Settings.load())
    # At the first request for it, it would block the others.
    app.openapi()
    # The objects that exist now are permanent, and few requests create cycles: by default, the
    # collector took 7 % of a cached read's time.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    return app
