"""What a query may say. What nobody understands is refused: a slip would change what is done."""

from collections.abc import Iterator
from typing import cast

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from orderworks_app.gateway.http.problems import FieldError, Problem, ProblemKind

NO_NUL = "^[^\\x00]*$"
"""What PostgreSQL takes as a text."""

_known: dict[str, frozenset[str]] = {}
"""The names that each route takes, by what FastAPI calls the route."""


def reject_unknown_parameters(request: Request) -> None:
    """Raise where the query has a name that the route does not take.

    Raises:
        Problem: names the first such parameter.
    """
    if not request.scope["query_string"]:
        return
    route = cast("APIRoute", request.scope["route"])
    unknown = request.query_params.keys() - _names(route)
    if unknown:
        name, detail = min(unknown), "is no parameter of this request"
        raise Problem(ProblemKind.INVALID, f"{name}: {detail}", errors=[FieldError(name, detail)])


def _names(route: APIRoute) -> frozenset[str]:
    if route.unique_id not in _known:
        _known[route.unique_id] = frozenset(_taken(route.dependant))
    return _known[route.unique_id]


def _taken(dependant: Dependant) -> Iterator[str]:
    """The names that a route, or what it depends on, takes from the query."""
    yield from (each.alias for each in dependant.query_params)
    for each in dependant.dependencies:
        yield from _taken(each)
