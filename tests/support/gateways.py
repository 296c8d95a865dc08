"""Real gateways for tests: uvicorn on a port of its own, in a thread of this process."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn

from orderworks.core.settings import Settings
from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.gateway.app import make_app
from tests.support.processes import eventually

JSON = {"Content-Type": "application/json"}
"""What every write says that it brings."""


@contextmanager
def running_gateway(settings: Settings) -> Iterator[str]:
    """The address of a gateway for these settings, as long as the block lasts."""
    config = uvicorn.Config(
        make_app(settings), log_config=None, access_log=False, timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    with socket.create_server((LOOPBACK, 0)) as door:
        thread = threading.Thread(target=server.run, args=([door],))
        thread.start()
        try:
            eventually(lambda: server.started or not thread.is_alive(), within=15)
            assert server.started
            yield f"http://{LOOPBACK}:{door.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(15)
    assert not thread.is_alive()


@contextmanager
def client_of(address: str, token: str = "") -> Iterator[httpx.Client]:
    """A client of a gateway, with a token if one is given."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=address, headers=headers, timeout=30) as client:
        yield client
