"""Updates of orders, handed over."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from orders.messages import MAX_BIGINT, Money, OrderUpdate
from orderworks.gateway.answers import answer, read_json
from orderworks.gateway.auth import Scope, allowed
from orderworks.gateway.describe import gives, takes
from orderworks.gateway.state import State, state_of

router = APIRouter(prefix="/v1", tags=["orders"])

OrderId = Annotated[int, Path(ge=1, le=MAX_BIGINT, description="The order's id.")]


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an update says of an order: the fields of `OrderUpdate` without the id."""

    total: Money | None = None
    status: str | None = None
    customer_id: int | None = None
    version: int | None = None


class Enqueued(msgspec.Struct, frozen=True):
    """The receipt for one update: its entry, by which its verdict can be asked for if it is tracked."""

    entry: str
    order_id: int


@router.post(
    "/orders/{order_id}",
    operation_id="update_order",
    status_code=202,
    dependencies=[Depends(allowed(Scope.ENQUEUE))],
    openapi_extra=takes(Change, {"total": "19.99", "status": "paid"}),
    responses=gives(202, "It is accepted.", Enqueued, {"entry": "1795704831018-0", "order_id": 42}),
)
async def update_order(
    order_id: OrderId, request: Request, state: Annotated[State, Depends(state_of)]
) -> Response:
    """Hand over one update. Fields that are not given stay as they are."""
    change = await read_json(request, Change)
    update = OrderUpdate(order_id=order_id, **msgspec.structs.asdict(change))
    entry = await state.producer.update(update)
    return answer(Enqueued(entry, order_id), 202)
