"""Checks of query parameters. Unknown ones are refused: a typing error would change what is done."""

from collections.abc import Iterator
from typing import cast

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from orderworks_app.gateway.http.problems import FieldError, Problem, ProblemKind

NO_NUL = "^[^\\x00]*$"
"""A pattern of the texts that PostgreSQL can store."""

_known: dict[str, frozenset[str]] = {}
"""The parameters of each route, by FastAPI's id of the route."""


def reject_unknown_parameters(request: Request) -> None:
    """Raise if the query has a parameter that the route does not have.

    Raises:
        Problem: names the first such parameter.
    """
    if not request.scope["query_string"]:
        return
    route = cast("APIRoute", request.scope["route"])
    unknown = request.query_params.keys() - _names(route)
    if unknown:
        name, detail = min(unknown), "is not a parameter of this request"
        raise Problem(ProblemKind.INVALID, f"{name}: {detail}", errors=[FieldError(name, detail)])


def _names(route: APIRoute) -> frozenset[str]:
    if route.unique_id not in _known:
        _known[route.unique_id] = frozenset(_parameters(route.dependant))
    return _known[route.unique_id]


def _parameters(dependant: Dependant) -> Iterator[str]:
    """Yield the query parameters of a route and of its dependencies."""
    yield from (each.alias for each in dependant.query_params)
    for each in dependant.dependencies:
        yield from _parameters(each)
