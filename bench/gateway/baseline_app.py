"""The baseline of requests: FastAPI with one endpoint that does nothing, served as the gateway is.

`python -m bench.gateway.baseline_app PORT`
"""

import sys

from fastapi import FastAPI

from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.gateway.server import run


def make_app() -> FastAPI:
    """Return an application with one endpoint."""
    app = FastAPI()

    @app.get("/")
    async def empty() -> dict[str, str]:
        return {"hello": "world"}

    return app


if __name__ == "__main__":
    run("bench.gateway.baseline_app:make_app", LOOPBACK, int(sys.argv[1]), workers=1)
