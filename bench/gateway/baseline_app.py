"""The least that FastAPI can do, served as the gateway is: what a request costs before it does anything.

`python -m bench.gateway.baseline_app PORT`
"""

import sys

from fastapi import FastAPI

from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.gateway.server import run


def make_app() -> FastAPI:
    """An application with one endpoint."""
    app = FastAPI()

    @app.get("/")
    async def empty() -> dict[str, str]:
        return {"hello": "world"}

    return app


if __name__ == "__main__":
    run("bench.gateway.baseline_app:make_app", LOOPBACK, int(sys.argv[1]), workers=1)
