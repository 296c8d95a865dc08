"""Who may do what."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from ipaddress import ip_address

from fastapi import Request

from orderworks.gateway.problems import Kind, Problem


class Scope(StrEnum):
    """What a token may be for."""

    READ = "read"
    """Customers, orders, reports, imports and dead letters, to look at."""
    ENQUEUE = "enqueue"
    """Handing over updates and files."""
    OPERATE = "operate"
    """Steering imports, replaying dead letters."""


def allowed(scope: Scope) -> Callable[[Request], Awaitable[None]]:
    """A dependency of routes: who asks may do what this scope is for.

    Raises:
        Problem: they may not.
    """

    async def check(request: Request) -> None:
        if not is_local(request):
            raise Problem(Kind.FORBIDDEN, f"this needs a token with the scope {scope}")

    return check


def is_local(request: Request) -> bool:
    """Whether the client is on this machine."""
    return request.client is not None and ip_address(request.client.host).is_loopback
