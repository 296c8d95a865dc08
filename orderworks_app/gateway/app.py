"""The application: routes, manners, and connections that live as long as it runs."""

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
"""Objects more than before, when the collector looks for new ones in cycles; Python's default is 700."""


def make_app(settings: Settings) -> FastAPI:
    """The gateway for the servers that the settings name. It opens nothing before it is started."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with GatewayResources.running(settings) as resources:
            app.state.gateway = resources
            yield

    app = FastAPI(
        title="Orderworks",
        version=version("orderworks"),
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        # A redirection loses bodies, and no client of an interface for programs needs it.
        redirect_slashes=False,
        exception_handlers={
            HTTPException: handle_error,
            RequestValidationError: handle_error,
        },
    )
    app.openapi = lambda: dict(describe(app))  # type: ignore[method-assign]  # FastAPI's own way
    app.add_middleware(GatewayMiddleware, settings=settings, streamed=STREAMED)
    for router in ROUTERS:
        # What FastAPI includes it matches twice for each request; routes of its own, once.
        app.router.routes.extend(router.routes)
    return app


def app_of_environment() -> FastAPI:
    """The gateway for the servers that the environment names: what each server process calls."""
    logging.configure()
    app = make_app(Settings.load())
    # What is there by now stays, and few requests leave cycles behind: looking for these as often as by
    # default took 7 % of a cached read's time.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    return app
