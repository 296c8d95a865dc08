"""Puts reports where readers find them: one hash a window, replaced in one step."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from orders import names
from orders.redis import Redis
from orders.reports import PAGES, Head, Report, page_of

# Nothing is put over what is as of later. Where the lines are those that are there, only the head is
# replaced; where they are others and do not come along, nothing is.
_PUBLISH = """
local known = redis.call('HGET', KEYS[1], 'fence')
if known and tonumber(known) > tonumber(ARGV[1]) then return 'newer' end
if redis.call('HGET', KEYS[1], 'digest') ~= ARGV[3] then
  if #ARGV == 3 then return 'differs' end
  redis.call('HSET', KEYS[1], 'digest', ARGV[3], unpack(ARGV, 4))
end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'head', ARGV[2])
return 'published'
"""


def publish(client: Redis, reports: Sequence[Report]) -> int:
    """Publish reports unless newer ones are there; how many of them brought other lines.

    One whose lines are those already published costs its new head only.
    """
    said = _send(client, [(report, _stamp(report)) for report in reports])
    others = [report for report, answer in zip(reports, said, strict=True) if answer == b"differs"]
    said = _send(client, [(report, [*_stamp(report), *_pages(report)]) for report in others])
    return said.count(b"published")


def _send(client: Redis, calls: Sequence[tuple[Report, list[Any]]]) -> list[bytes]:
    """The script's answers for reports with these arguments, in one round trip."""
    if not calls:
        return []
    script = client.register_script(_PUBLISH)
    with client.pipeline(transaction=False) as pipeline:
        for report, arguments in calls:
            script([names.top_customers_report(report.window)], arguments, client=pipeline)
        return pipeline.execute()


def _stamp(report: Report) -> list[Any]:
    """Fence, head and digest."""
    fence = int(report.as_of.timestamp() * 1_000_000)
    head = Head(report.as_of, report.watermark, report.seconds, len(report.rows), report.complete)
    digest = hashlib.blake2b(_lines(report), digest_size=16).hexdigest()
    return [fence, msgspec.json.encode(head), digest]


def _pages(report: Report) -> list[Any]:
    """Field after field: all lines, and the first ones once more."""
    return [part for most in (None, *PAGES) for part in (page_of(most), _lines(report, most))]


def _lines(report: Report, most: int | None = None) -> bytes:
    return msgspec.json.encode(report.rows[:most])
