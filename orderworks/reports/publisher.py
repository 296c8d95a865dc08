"""Publication of reports in Redis: one hash per window, replaced in one step.

What is read back, and the fields for that, are in `top_customers`.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from orderworks.core import keys
from orderworks.core.redis import LUA_FENCE, Redis
from orderworks.reports.top_customers import PAGE_SIZES, Head, Report, page_field

log = structlog.get_logger()

# Keeps a report of a later pass. Replaces only the head if the lines are the published ones; if they
# differ and are not among the arguments, replaces nothing. Deletes fields of the previous release.
_PUBLISH = (
    LUA_FENCE
    + """
if fence('pass') > tonumber(ARGV[1]) then return 'newer' end
if redis.call('HGET', KEYS[1], 'digest') ~= ARGV[3] then
  if #ARGV == 3 then return 'differs' end
  redis.call('HSET', KEYS[1], 'digest', ARGV[3], unpack(ARGV, 4))
  redis.call('HDEL', KEYS[1], 'fence', 'body')
end
redis.call('HSET', KEYS[1], 'pass', ARGV[1], 'head', ARGV[2])
return 'published'
"""
)


def publish(client: Redis, reports: Sequence[Report], number: int) -> int:
    """Publish reports unless those of a later pass are published; return how many had new lines.

    `number` is that of the pass. Of a report with the lines already published only the head is sent.
    """
    with_headers = [(report, _header_arguments(report, number)) for report in reports]
    replies = _send(client, with_headers)
    if b"newer" in replies:
        log.warning("report_publish_superseded", number=number)
    full = [
        (report, [*header, *_page_arguments(report)])
        for (report, header), reply in zip(with_headers, replies, strict=True)
        if reply == b"differs"
    ]
    return _send(client, full).count(b"published")


def _send(client: Redis, calls: Sequence[tuple[Report, list[Any]]]) -> list[bytes]:
    """Run the script for reports with these arguments in one round trip; return its replies."""
    if not calls:
        return []
    script = client.register_script(_PUBLISH)
    with client.pipeline(transaction=False) as pipeline:
        for report, arguments in calls:
            script([keys.top_customers_report(report.window)], arguments, client=pipeline)
        return pipeline.execute()


def _header_arguments(report: Report, number: int) -> list[Any]:
    """Return the number of the pass, the head and the digest of the lines."""
    head = Head(report.as_of, report.watermark, report.seconds, len(report.rows), report.complete)
    digest = hashlib.blake2b(_lines(report), digest_size=16).hexdigest()
    return [number, msgspec.json.encode(head), digest]


def _page_arguments(report: Report) -> list[Any]:
    """Return field, value, field, …: all lines, and each number of first lines."""
    return [
        part for limit in (None, *PAGE_SIZES) for part in (page_field(limit), _lines(report, limit))
    ]


def _lines(report: Report, limit: int | None = None) -> bytes:
    return msgspec.json.encode(report.rows[:limit])
