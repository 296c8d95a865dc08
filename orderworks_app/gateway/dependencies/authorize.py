"""Authorization of requests: the token, its scopes and its rate.

A gateway on another address than the loopback needs a token for each request. On the loopback, clients
of this machine may do everything until the first token is created.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import structlog
from fastapi import Request

from orderworks.core.errors import Unavailable
from orderworks_app.gateway.auth.loopback import is_loopback
from orderworks_app.gateway.auth.scopes import Scope
from orderworks_app.gateway.auth.token_cache import LOCAL_CALLER, Caller
from orderworks_app.gateway.dependencies.current import current_resources
from orderworks_app.gateway.http.problems import Problem, ProblemKind, retry_later
from orderworks_app.gateway.http.query_params import reject_unknown_parameters
from orderworks_app.gateway.resources import GatewayResources

__all__ = ["Scope", "caller_of", "requires", "still_authorized"]


def requires(scope: Scope) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency of routes that requires this scope.

    The dependency also enforces the rate limit and rejects unknown query parameters.

    Raises:
        Problem: the client lacks a valid token or the scope, exceeds its rate, or sends an unknown
            parameter.
        Unavailable: the token is not cached, and PostgreSQL cannot be used.
    """

    async def check(request: Request) -> None:
        resources = current_resources(request)
        caller = await _identify(request, resources)
        request.state.caller = caller
        if scope not in caller.scopes:
            challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
            raise Problem(
                ProblemKind.FORBIDDEN,
                f"the token {caller.name} has no scope {scope}",
                headers={"WWW-Authenticate": challenge},
            )
        await _enforce_rate(caller, resources)
        reject_unknown_parameters(request)

    return check


def still_authorized(request: Request, scope: Scope) -> Callable[[], Awaitable[bool]]:
    """Return a check whether the client still has the scope: for responses that take long."""

    async def check() -> bool:
        with suppress(Problem, Unavailable):
            return scope in (await _identify(request, current_resources(request))).scopes
        return False

    return check


def caller_of(request: Request) -> Caller:
    """Return the client that `requires` has identified."""
    return cast("Caller", request.state.caller)


async def _identify(request: Request, resources: GatewayResources) -> Caller:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not scheme:
        if is_local(request, resources) and not await resources.tokens.any_exist():
            return LOCAL_CALLER
        raise _unauthorized("a token is required: Authorization: Bearer …", "")
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
            ProblemKind.TOO_MANY, f"the token is limited to {rate:g} requests per second", wait
        )


def is_local(request: Request, resources: GatewayResources) -> bool:
    """Return whether the gateway listens on the loopback only and the client is on this machine."""
    client = request.client.host if request.client else ""
    return is_loopback(resources.settings.gateway_host) and is_loopback(client)
