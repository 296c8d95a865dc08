"""Updates of orders: sending one or a batch of them, and reading their verdicts."""

from typing import Annotated, Any

import msgspec
import structlog
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from orderworks.core.bounds import MAX_BIGINT
from orderworks.core.errors import NotDurable, PartlyAccepted, WaitTimeout
from orderworks.updates.messages import OrderUpdate, Verdict
from orderworks_app.gateway.dependencies.authorize import Scope, requires
from orderworks_app.gateway.dependencies.current import ResourcesDep
from orderworks_app.gateway.dependencies.idempotency import run_once
from orderworks_app.gateway.http.ids import (
    PLAIN_DECIMAL,
    PLAIN_DIGITS,
    IdForm,
    IdFormQuery,
    in_form,
)
from orderworks_app.gateway.http.openapi import IDEMPOTENCY_KEY, request_docs, response_docs
from orderworks_app.gateway.http.problems import Problem, problem_of
from orderworks_app.gateway.http.request_body import RequestBody
from orderworks_app.gateway.http.responses import decode_body, json_response
from orderworks_app.gateway.resources import GatewayResources
from orderworks_app.gateway.transfers.changes import Change, ChangeLine
from orderworks_app.gateway.transfers.ndjson import Reject, UpdateBatch

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/v1", tags=["orders"])

MAX_WAIT = 30.0
"""Seconds that a request may wait for a verdict."""

OrderId = Annotated[
    int, Path(ge=1, le=MAX_BIGINT, description="The order's id.", examples=[42]), PLAIN_DIGITS
]
Track = Annotated[bool, Query(description="Keep the verdict, which can be read by the entry.")]
Durable = Annotated[bool, Query(description="Answer only after Redis has written it to disk.")]

ENQUEUES = [Depends(requires(Scope.ENQUEUE))]


class Enqueued(msgspec.Struct, frozen=True, omit_defaults=True):
    """The receipt for an update; `durable` is false if that was requested and is not confirmed."""

    entry: str
    order_id: int
    durable: bool = True


class TrackedVerdict(msgspec.Struct, frozen=True):
    """The verdict of a tracked update; null if it is not known yet or has expired."""

    entry: str
    order_id: int
    verdict: Verdict | None
    reason: str


TrackedVerdict.__name__ = "Told"
"""Its name in the OpenAPI document."""


class Account(msgspec.Struct, frozen=True):
    """The result of a batch: lines = accepted + rejected_count; the first rejects are listed."""

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
    id_form: IdFormQuery = IdForm.NUMBER,
) -> Response:
    """Send one update.

    Fields that are not given stay as they are. An order that does not exist is created if
    `customer_id` and `total` are given.
    """
    body = RequestBody(request, resources.settings.gateway_max_body)
    update = decode_body(await body.read_all(), Change).update_of(order_id)

    async def append() -> Response:
        try:
            entry = await _append(resources, update, durable=durable, track=track)
        except NotDurable as accepted:
            receipt = Enqueued(accepted.entries[0], order_id, durable=False)
        else:
            receipt = Enqueued(entry, order_id)
        return json_response(in_form(receipt, id_form), 202)

    return await run_once(request, resources, body, append)


async def _append(
    resources: GatewayResources, update: OrderUpdate, *, durable: bool, track: bool
) -> str:
    """Append the update to its stream, and return its entry id."""
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
        TrackedVerdict,
        {"entry": "1795704831018-0", "order_id": 42, "verdict": "applied", "reason": ""},
    ),
)
async def read_verdict(
    order_id: OrderId,
    entry: Annotated[str, Path(pattern=r"^[0-9]{1,20}-[0-9]{1,20}$", examples=["1795704831018-0"])],
    resources: ResourcesDep,
    wait: Annotated[
        float, Query(ge=0, le=MAX_WAIT, description="Seconds to wait for it."), PLAIN_DECIMAL
    ] = 0,
    id_form: IdFormQuery = IdForm.NUMBER,
) -> Response:
    """The verdict of an update that was sent with `track`."""
    receipt = resources.producer.receipt(order_id, entry)
    try:
        verdict = await receipt.wait(wait)
    except WaitTimeout:
        # A receipt also waits while Redis is unavailable; that must be 503 here, not "no verdict".
        await resources.stream.ping()
        result = TrackedVerdict(entry, order_id, None, "")
    else:
        result = TrackedVerdict(entry, order_id, verdict, receipt.reason)
    return json_response(in_form(result, id_form))


@router.post(
    "/orders:batch",
    operation_id="update_orders",
    status_code=202,
    dependencies=ENQUEUES,
    openapi_extra=request_docs(
        ChangeLine,
        '{"order_id":42,"status":"paid"}\n{"order_id":43,"total":"5.00"}\n',
        "application/x-ndjson",
        header=IDEMPOTENCY_KEY,
    ),
    responses=response_docs(
        202,
        "Each line is accepted or rejected.",
        Account,
        {"lines": 2, "accepted": 2, "rejected_count": 0, "rejected": []},
    ),
)
async def update_orders(
    request: Request, resources: ResourcesDep, *, durable: Durable = False
) -> Response:
    """Send any number of updates, one per line.

    An invalid line is rejected and does not affect the others. If the batch stops early, the problem
    reports what was done: `lines`, `accepted` and the rejects as here; `refused` and `uncertain`, the
    lines that were certainly, or possibly, not accepted; and `next_line`, the first unread line.
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
    except PartlyAccepted as error:
        return _partial_response(batch, error)
    except Problem as nothing_accepted:
        nothing_accepted.more = _counts(batch)
        raise
    result = Account(batch.lines, accepted, batch.rejected_count, batch.rejected)
    return json_response(result, 202)


def _partial_response(batch: UpdateBatch, error: PartlyAccepted) -> Response:
    """Return the problem of a batch that stopped early, with what was done until then.

    It is returned and not raised, so that it is stored under the request's Idempotency-Key.

    Raises:
        Problem: the same, if nothing was accepted; the key can then be used again.
        ClientDisconnect: the client closed the connection.
    """
    cause = error.__cause__
    if isinstance(cause, ClientDisconnect):
        log.info("batch_interrupted", accepted=error.accepted, lines=batch.lines)
        raise cause
    problem = problem_of(cause if isinstance(cause, Exception) else error)
    problem.more = _counts(batch) | {
        "accepted": error.accepted,
        "refused": batch.lines_of(error.refused),
        "uncertain": batch.lines_of(error.uncertain),
    }
    if not error.accepted and not error.uncertain:
        raise problem
    return problem.response()


def _counts(batch: UpdateBatch) -> dict[str, Any]:
    """Return what is known of a batch that stopped, if it had no effect."""
    return {
        "lines": batch.lines,
        "accepted": 0,
        "rejected_count": batch.rejected_count,
        "rejected": batch.rejected,
        "refused": [],
        "uncertain": [],
        "next_line": batch.last + 1,
    }
