"""Updates of orders, handed over: one, or as many as there are lines."""

from typing import Annotated

import msgspec
import structlog
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from orderworks.core.bounds import MAX_BIGINT
from orderworks.core.errors import NotDurable, PartlyAccepted, WaitTimeout
from orderworks.updates.messages import Money, OrderUpdate, Verdict
from orderworks_app.gateway.dependencies.authorize import Scope, requires
from orderworks_app.gateway.dependencies.current import ResourcesDep
from orderworks_app.gateway.dependencies.idempotency import run_once
from orderworks_app.gateway.http.openapi import IDEMPOTENCY_KEY, request_docs, response_docs
from orderworks_app.gateway.http.problems import problem_of
from orderworks_app.gateway.http.request_body import RequestBody
from orderworks_app.gateway.http.responses import decode_body, json_response
from orderworks_app.gateway.resources import GatewayResources
from orderworks_app.gateway.transfers.ndjson import Reject, UpdateBatch

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/v1", tags=["orders"])

MAX_WAIT = 30.0
"""Seconds that a request may wait for a verdict."""

OrderId = Annotated[int, Path(ge=1, le=MAX_BIGINT, description="The order's id.", examples=[42])]
Track = Annotated[bool, Query(description="Keep the verdict, to be asked for by the entry.")]
Durable = Annotated[bool, Query(description="Answer only when it is on Redis' disk.")]

ENQUEUES = [Depends(requires(Scope.ENQUEUE))]


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an update says of an order: the fields of `OrderUpdate` without the id."""

    total: Money | None = None
    status: str | None = None
    customer_id: int | None = None
    version: int | None = None


class Enqueued(msgspec.Struct, frozen=True, omit_defaults=True):
    """The receipt for one update; `durable` is there if that was asked for and cannot be said."""

    entry: str
    order_id: int
    durable: bool = True


class Told(msgspec.Struct, frozen=True):
    """What became of a tracked update: no verdict means that none is known, yet or any more."""

    entry: str
    order_id: int
    verdict: Verdict | None
    reason: str


class Account(msgspec.Struct, frozen=True):
    """The account of a batch: lines = accepted + rejected_count; the first rejects are listed."""

    lines: int
    accepted: int
    rejected_count: int
    rejected: list[Reject]


@router.post(
    "/orders/{order_id}",
    operation_id="update_order",
    status_code=202,
    dependencies=ENQUEUES,
    openapi_extra=request_docs(
        Change, {"total": "19.99", "status": "paid"}, header=IDEMPOTENCY_KEY
    ),
    responses=response_docs(
        202, "It is accepted.", Enqueued, {"entry": "1795704831018-0", "order_id": 42}
    ),
)
async def update_order(
    order_id: OrderId,
    request: Request,
    resources: ResourcesDep,
    *,
    track: Track = False,
    durable: Durable = False,
) -> Response:
    """Hand over one update.

    Fields that are not given stay as they are. An order that does not exist is created if
    `customer_id` and `total` are given.
    """
    body = RequestBody(request, resources.settings.gateway_max_body)
    change = decode_body(await body.read_all(), Change)
    update = OrderUpdate(order_id=order_id, **msgspec.structs.asdict(change))

    async def hand_over() -> Response:
        try:
            entry = await _entry(resources, update, durable=durable, track=track)
        except NotDurable as accepted:
            return json_response(Enqueued(accepted.entries[0], order_id, durable=False), 202)
        return json_response(Enqueued(entry, order_id), 202)

    return await run_once(request, resources, body, hand_over)


async def _entry(
    resources: GatewayResources, update: OrderUpdate, *, durable: bool, track: bool
) -> str:
    if track:
        return (await resources.producer.update(update, durable=durable, track=True)).entry
    return await resources.producer.update(update, durable=durable)


@router.get(
    "/orders/{order_id}/updates/{entry}",
    operation_id="read_verdict",
    dependencies=ENQUEUES,
    responses=response_docs(
        200,
        "The verdict, if there is one.",
        Told,
        {"entry": "1795704831018-0", "order_id": 42, "verdict": "applied", "reason": ""},
    ),
)
async def read_verdict(
    order_id: OrderId,
    entry: Annotated[str, Path(pattern=r"^[0-9]{1,20}-[0-9]{1,20}$", examples=["1795704831018-0"])],
    resources: ResourcesDep,
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT, description="Seconds to wait for it.")] = 0,
) -> Response:
    """What became of an update that was handed over with `track`."""
    receipt = resources.producer.receipt(order_id, entry)
    try:
        verdict = await receipt.wait(wait)
    except WaitTimeout:
        # A receipt waits on while Redis is away; here that has to be told from no verdict.
        await resources.stream.ping()
        return json_response(Told(entry, order_id, None, ""))
    return json_response(Told(entry, order_id, verdict, receipt.reason))


@router.post(
    "/orders:batch",
    operation_id="update_orders",
    status_code=202,
    dependencies=ENQUEUES,
    openapi_extra=request_docs(
        OrderUpdate,
        '{"order_id":42,"status":"paid"}\n{"order_id":43,"total":"5.00"}\n',
        "application/x-ndjson",
        header=IDEMPOTENCY_KEY,
    ),
    responses=response_docs(
        202,
        "All lines are accounted for.",
        Account,
        {"lines": 2, "accepted": 2, "rejected_count": 0, "rejected": []},
    ),
)
async def update_orders(
    request: Request, resources: ResourcesDep, *, durable: Durable = False
) -> Response:
    """Hand over any number of updates, one a line.

    A line that is no update is rejected by itself. If it stops part way, the problem has the account:
    `lines`, `accepted` and rejects as here; `refused` and `uncertain`, the lines that certainly, or
    possibly, were not accepted; and `next_line`, from which on nothing was.
    """
    body = RequestBody(request, resources.settings.gateway_max_batch)
    return await run_once(
        request, resources, body, lambda: _append_batch(resources, body, durable=durable)
    )


async def _append_batch(
    resources: GatewayResources, body: RequestBody, *, durable: bool
) -> Response:
    batch = UpdateBatch(body, resources.settings.gateway_max_body)
    try:
        accepted = await resources.producer.update_many(batch.updates(), durable=durable)
    except PartlyAccepted as stopped:
        return _stopped(batch, stopped)
    account = Account(batch.lines, accepted, batch.rejected_count, batch.rejected)
    return json_response(account, 202)


def _stopped(batch: UpdateBatch, stopped: PartlyAccepted) -> Response:
    """The problem, with the account of what was taken until then.

    Raises:
        Problem: the same, where nothing was accepted.
        ClientDisconnect: nobody waits for it.
    """
    cause = stopped.__cause__
    if isinstance(cause, ClientDisconnect):
        log.info("batch_cut_off", accepted=stopped.accepted, lines=batch.lines)
        raise cause
    problem = problem_of(cause if isinstance(cause, Exception) else stopped)
    problem.more = {
        "lines": batch.lines,
        "accepted": stopped.accepted,
        "rejected_count": batch.rejected_count,
        "rejected": batch.rejected,
        "refused": batch.lines_of(stopped.refused),
        "uncertain": batch.lines_of(stopped.uncertain),
        "next_line": batch.last + 1,
    }
    if not stopped.accepted and not stopped.uncertain:
        raise problem
    return problem.response()
