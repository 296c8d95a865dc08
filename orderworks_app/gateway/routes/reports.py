"""Published reports."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import Response

from orderworks.reports.top_customers import Report, Shown
from orderworks.reports.windows import Window
from orderworks_app.gateway.dependencies.authorize import Scope, requires
from orderworks_app.gateway.dependencies.current import ResourcesDep
from orderworks_app.gateway.http.ids import PLAIN_DIGITS, IdForm, IdFormQuery, in_form
from orderworks_app.gateway.http.openapi import response_docs

router = APIRouter(prefix="/v1", tags=["reports"], dependencies=[Depends(requires(Scope.READ))])

MAX_LIMIT = 1000


EXAMPLE = {
    "window": "30d",
    "as_of": "2026-11-26T15:00:00Z",
    "watermark": "1042:1042:",
    "seconds": 0.012,
    "rows": [{"customer_id": 7, "name": "Ada", "orders": 3, "total": "59.97"}],
}


@router.get(
    "/reports/top-customers",
    operation_id="top_customers",
    responses={
        **response_docs(200, "The report.", Shown, EXAMPLE),
        304: {"description": "It still has the ETag of `If-None-Match`."},
    },
)
async def top_customers(
    resources: ResourcesDep,
    window: Annotated[Window, Query(description="Days, including today, in UTC.")] = Window.ALL,
    limit: Annotated[
        int, Query(ge=1, le=MAX_LIMIT, description="Customers to list."), PLAIN_DIGITS
    ] = 10,
    min_orders: Annotated[
        int,
        Query(ge=1, le=2**31 - 1, description="Omit customers with fewer orders."),
        PLAIN_DIGITS,
    ] = 1,
    if_none_match: Annotated[str | None, Header()] = None,
    id_form: IdFormQuery = IdForm.NUMBER,
) -> Response:
    """The customers with the highest order totals; `Age` is the age of the list in seconds.

    While PostgreSQL is unavailable it is the list that was published last.
    """
    report = await resources.in_thread(resources.blocking.reports.read, window, limit, min_orders)
    body = msgspec.json.encode(in_form(report.shown(), id_form))
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Age": str(_age(report)), "Cache-Control": "private, no-cache"}
    if _matches_tag(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _age(report: Report) -> int:
    return max(0, round((datetime.now(UTC) - report.as_of).total_seconds()))


def _matches_tag(if_none_match: str | None, tag: str) -> bool:
    """Return whether `If-None-Match` matches the tag: as a strong or weak one, in a list, or by `*`."""
    tags = [each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")]
    return tag in tags or "*" in tags
