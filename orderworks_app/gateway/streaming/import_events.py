"""Events of the progress of an import, until its end. One poll serves all clients that follow it."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

from anyio import CapacityLimiter, to_thread

from orderworks.core.errors import ImportNotFound
from orderworks.imports.progress import ENDED, Summary
from orderworks_app.gateway.http.problems import problem_of
from orderworks_app.gateway.streaming.polling import OUTAGES
from orderworks_app.gateway.streaming.sse import encode_event
from orderworks_app.operations.imports import Imports

POLL_INTERVAL = 0.5
"""Seconds between two polls."""


async def import_progress_events(
    imports: Imports, import_id: str, threads: CapacityLimiter
) -> AsyncIterator[bytes]:
    """Yield `progress` after each change of the import, and finally `end`; `away` during an outage.

    The events also end if the import is deleted meanwhile.
    """
    published: object = None
    for number in count(1):
        try:
            summary = await to_thread.run_sync(
                imports.find_with_wait_state, import_id, limiter=threads
            )
        except OUTAGES as error:
            name, document = "away", {"detail": problem_of(error).detail}
        except ImportNotFound:
            return
        else:
            name, document = _event_name(summary), summary
        if document != published:
            published = document
            yield encode_event(name, number, document)
        if name == "end":
            return
        await asyncio.sleep(POLL_INTERVAL)


def _event_name(summary: Summary) -> str:
    return "end" if summary["status"] in ENDED else "progress"
