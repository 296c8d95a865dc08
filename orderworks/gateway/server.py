"""The server process: uvicorn, with our logs."""

import uvicorn

APP = "orderworks.gateway.app:app_of_environment"

GRACE = 5
"""Seconds that requests under way have when the server is asked to stop."""


def serve(host: str, port: int, workers: int) -> None:
    """Answer requests until a signal ends it; those under way are finished, within bounds."""
    uvicorn.run(
        APP,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
