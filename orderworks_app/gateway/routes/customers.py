"""Customers: one at a time from the cache, many at once from the database."""

from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from orderworks.core.bounds import MAX_BIGINT
from orderworks.reads import Customer, CustomerSummary, Known, Order
from orderworks_app.gateway.dependencies.authorize import Scope, requires
from orderworks_app.gateway.dependencies.current import ResourcesDep, current_resources
from orderworks_app.gateway.http.fast_route import FastRoute
from orderworks_app.gateway.http.ids import PLAIN_DIGITS, IdForm, IdFormQuery, id_of, in_form
from orderworks_app.gateway.http.openapi import request_docs, response_docs
from orderworks_app.gateway.http.pagination import decode_cursor, page_response
from orderworks_app.gateway.http.problems import Problem, not_found
from orderworks_app.gateway.http.responses import json_response, read_json

READERS = [Depends(requires(Scope.READ))]

by_id = APIRouter(prefix="/v1", tags=["customers"], dependencies=READERS, route_class=FastRoute)
"""The routes of the most frequent requests."""

router = APIRouter(prefix="/v1", tags=["customers"], dependencies=READERS)

MAX_PER_REQUEST = 1000
"""Customers of one lookup, and orders of one page."""

CustomerId = Annotated[
    int, Path(ge=1, le=MAX_BIGINT, description="The customer's id."), PLAIN_DIGITS
]

LookupId = Annotated[int, msgspec.Meta(ge=1, le=MAX_BIGINT)]

_CURSOR = msgspec.json.Decoder(tuple[Annotated[datetime, msgspec.Meta(tz=True)], LookupId])

ADA = {"id": 7, "name": "Ada", "email": "ada@example.com", "phone": None}
SUMS = {"orders": 3, "total": "59.97", "last_order_at": "2026-11-26T15:00:00Z"}


class Orders(msgspec.Struct, frozen=True):
    """A page of a customer's orders, newest first; `next` is the cursor of the next page, if any."""

    orders: list[Order]
    next: str | None


class Lookup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ids of the customers to look up."""

    ids: Annotated[list[LookupId | str], msgspec.Meta(max_length=MAX_PER_REQUEST)]


class Found(msgspec.Struct, frozen=True):
    """The customers that exist, by id, and the ids without a customer."""

    customers: list[Known]
    missing: list[int]


@by_id.get(
    "/customers/{customer_id}",
    operation_id="customer",
    responses=response_docs(200, "The customer.", Customer, ADA),
)
async def customer(
    request: Request, customer_id: CustomerId, id_form: IdFormQuery = IdForm.NUMBER
) -> Response:
    """One customer."""
    row = await current_resources(request).reads.customer(customer_id)
    if row is None:
        raise _unknown(customer_id)
    return json_response(in_form(row, id_form))


@by_id.get(
    "/customers/{customer_id}/summary",
    operation_id="customer_summary",
    responses=response_docs(
        200, "Number, sum and latest date.", CustomerSummary, {"customer_id": 7, **SUMS}
    ),
)
async def customer_summary(
    request: Request, customer_id: CustomerId, id_form: IdFormQuery = IdForm.NUMBER
) -> Response:
    """Number, sum and latest date of the customer's orders that count in reports."""
    reads = current_resources(request).reads
    if await reads.customer(customer_id) is None:
        raise _unknown(customer_id)
    return json_response(in_form(await reads.customer_summary(customer_id), id_form))


@router.get(
    "/customers/{customer_id}/orders",
    operation_id="customer_orders",
    responses=response_docs(
        200,
        "A page of orders.",
        Orders,
        {
            "orders": [
                {
                    "id": 42,
                    "status": "paid",
                    "total": "19.99",
                    "created_at": "2026-11-26T15:00:00Z",
                    "updated_at": "2026-11-26T15:00:00Z",
                }
            ],
            "next": None,
        },
    ),
)
async def customer_orders(
    request: Request,
    customer_id: CustomerId,
    resources: ResourcesDep,
    limit: Annotated[
        int, Query(ge=1, le=MAX_PER_REQUEST, description="Orders of a page."), PLAIN_DIGITS
    ] = 20,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    id_form: IdFormQuery = IdForm.NUMBER,
) -> Response:
    """The customer's orders, newest first; an empty list if there is no such customer."""
    before = decode_cursor(cursor, _CURSOR)
    orders = await resources.reads.customer_orders(customer_id, limit + 1, before)
    return page_response(
        request, "orders", orders, limit, lambda order: (order.created_at, order.id), id_form
    )


@router.post(
    "/customers:lookup",
    operation_id="lookup_customers",
    openapi_extra=request_docs(Lookup, {"ids": [7, 8]}),
    responses=response_docs(
        200, "Those that exist.", Found, {"customers": [ADA | SUMS], "missing": [8]}
    ),
)
async def lookup_customers(
    request: Request, resources: ResourcesDep, id_form: IdFormQuery = IdForm.NUMBER
) -> Response:
    """Many customers at once, each with number, sum and latest date of their orders."""
    ids = {id_of("ids", each) for each in (await read_json(request, Lookup)).ids}
    customers = await resources.reads.lookup(ids)
    missing = sorted(ids - {each.id for each in customers})
    return json_response(in_form(Found(customers, missing), id_form))


def _unknown(customer_id: int) -> Problem:
    return not_found(f"there is no customer {customer_id}")
