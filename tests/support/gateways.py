"""Real gateways for tests: uvicorn on a port of its own, in a thread of this process."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn

from orderworks.core.settings import Settings
from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.gateway.app import make_app
from orderworks_app.gateway.http.protocol import HttpConnection
from tests.support.processes import eventually

JSON = {"Content-Type": "application/json"}
"""The headers of requests with a JSON body."""


class QuickServer(uvicorn.Server):
    """A server that ends sooner: it checks every 10 ms whether it has to, instead of every 100 ms."""

    async def main_loop(self) -> None:
        """Run until the server has to end."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            await asyncio.sleep(0.01)


@contextmanager
def running_gateway(settings: Settings) -> Iterator[str]:
    """The address of a gateway for these settings, as long as the block lasts."""
    config = uvicorn.Config(
        make_app(settings),
        http=HttpConnection,  # type: ignore[arg-type]  # as in the server
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    server = QuickServer(config)
    with socket.create_server((LOOPBACK, 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            eventually(lambda: server.started or not thread.is_alive(), within=15)
            assert server.started
            yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
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
