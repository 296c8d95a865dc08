"""Puts reports where readers find them: one hash a window, replaced in one step."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from orderworks.core import keys
from orderworks.core.redis import Redis
from orderworks.reports.top_customers import PAGE_SIZES, Head, Report, page_field

log = structlog.get_logger()

# Nothing is put over what a later pass gave. Where the lines are those that are there, only the head is
# replaced; where they are others and do not come along, nothing is. What the release before left goes.
_PUBLISH = """
local known = redis.call('HGET', KEYS[1], 'pass')
if known and tonumber(known) > tonumber(ARGV[1]) then return 'newer' end
if redis.call('HGET', KEYS[1], 'digest') ~= ARGV[3] then
  if #ARGV == 3 then return 'differs' end
  redis.call('HSET', KEYS[1], 'digest', ARGV[3], unpack(ARGV, 4))
  redis.call('HDEL', KEYS[1], 'fence', 'body')
end
redis.call('HSET', KEYS[1], 'pass', ARGV[1], 'head', ARGV[2])
return 'published'
"""


def publish(client: Redis, reports: Sequence[Report], number: int) -> int:
    """Publish reports unless those of a later pass are there; how many of them brought other lines.

    `number` is that of the pass. A report whose lines are those already published costs its new head
    only.
    """
    stamped = [(report, _header_arguments(report, number)) for report in reports]
    said = _send(client, stamped)
    if b"newer" in said:
        log.warning("reports_overtaken", number=number)
    whole = [
        (report, [*stamp, *_page_arguments(report)])
        for (report, stamp), answer in zip(stamped, said, strict=True)
        if answer == b"differs"
    ]
    return _send(client, whole).count(b"published")


def _send(client: Redis, calls: Sequence[tuple[Report, list[Any]]]) -> list[bytes]:
    """The script's answers for reports with these arguments, in one round trip."""
    if not calls:
        return []
    script = client.register_script(_PUBLISH)
    with client.pipeline(transaction=False) as pipeline:
        for report, arguments in calls:
            script([keys.top_customers_report(report.window)], arguments, client=pipeline)
        return pipeline.execute()


def _header_arguments(report: Report, number: int) -> list[Any]:
    """The pass, the head and the digest."""
    head = Head(report.as_of, report.watermark, report.seconds, len(report.rows), report.complete)
    digest = hashlib.blake2b(_lines(report), digest_size=16).hexdigest()
    return [number, msgspec.json.encode(head), digest]


def _page_arguments(report: Report) -> list[Any]:
    """Field after field: all lines, and the first ones once more."""
    return [
        part for most in (None, *PAGE_SIZES) for part in (page_field(most), _lines(report, most))
    ]


def _lines(report: Report, limit: int | None = None) -> bytes:
    return msgspec.json.encode(report.rows[:limit])
