"""Who may do what, and how often.

Off the loopback everybody has a token. On it, whoever is on this machine may do everything until the
first token is made.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import structlog
from fastapi import Request

from orderworks.core.errors import Unavailable
from orderworks_app.gateway.auth.loopback import is_loopback
from orderworks_app.gateway.auth.token_cache import LOCAL_CALLER, Caller
from orderworks_app.gateway.auth.token_store import Scope
from orderworks_app.gateway.dependencies.current import current_resources
from orderworks_app.gateway.http.problems import Problem, ProblemKind, retry_later
from orderworks_app.gateway.http.query_params import reject_unknown_parameters
from orderworks_app.gateway.resources import GatewayResources

__all__ = ["Scope", "caller_of", "requires", "still_authorized"]


def requires(scope: Scope) -> Callable[[Request], Awaitable[None]]:
    """A dependency of routes: who asks may do what this scope is for, and not too often.

    Raises:
        Problem: they may not, or ask for something unknown; Unavailable: the database cannot say.
    """

    async def check(request: Request) -> None:
        resources = current_resources(request)
        caller = await _identify(request, resources)
        request.state.caller = caller
        if scope not in caller.scopes:
            lacking = f'Bearer error="insufficient_scope", scope="{scope}"'
            raise Problem(
                ProblemKind.FORBIDDEN,
                f"the token {caller.name} has no scope {scope}",
                headers={"WWW-Authenticate": lacking},
            )
        await _enforce_rate(caller, resources)
        reject_unknown_parameters(request)

    return check


def still_authorized(request: Request, scope: Scope) -> Callable[[], Awaitable[bool]]:
    """Tells whether who asked may still do what the scope is for: for answers that take long."""

    async def is_welcome() -> bool:
        with suppress(Problem, Unavailable):
            return scope in (await _identify(request, current_resources(request))).scopes
        return False

    return is_welcome


def caller_of(request: Request) -> Caller:
    """Who asks, where `allowed` has let them."""
    return cast("Caller", request.state.caller)


async def _identify(request: Request, resources: GatewayResources) -> Caller:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not scheme:
        if is_local(request, resources) and not await resources.tokens.any_exist():
            return LOCAL_CALLER
        raise _unauthorized("this needs a token: Authorization: Bearer …", "")
    caller = await resources.tokens.caller(token.strip()) if scheme.lower() == "bearer" else None
    if caller is None:
        raise _unauthorized("the token is not valid", ', error="invalid_token"')
    structlog.contextvars.bind_contextvars(token=caller.name)
    return caller


def _unauthorized(detail: str, error: str) -> Problem:
    challenge = f'Bearer realm="orderworks"{error}'
    return Problem(ProblemKind.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})


async def _enforce_rate(caller: Caller, resources: GatewayResources) -> None:
    if caller is LOCAL_CALLER:
        return
    rate = caller.rate or resources.settings.gateway_rate
    if wait := await resources.rate_limits.wait_before(caller.name, rate):
        raise retry_later(
            ProblemKind.TOO_MANY, f"the token may make {rate:g} requests a second", wait
        )


def is_local(request: Request, resources: GatewayResources) -> bool:
    """Whether the gateway listens on the loopback only, and so does the client ask from there."""
    client = request.client.host if request.client else ""
    return is_loopback(resources.settings.gateway_host) and is_loopback(client)
