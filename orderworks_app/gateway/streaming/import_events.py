"""The way of an import as events, until it ended. One look for all who follow it."""

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
"""Seconds between two looks."""


async def import_progress_events(
    imports: Imports, import_id: str, threads: CapacityLimiter
) -> AsyncIterator[bytes]:
    """Events `progress` whenever the import moved, and at last `end`; `away` while nobody can tell.

    It also ends when the import is forgotten meanwhile.
    """
    told: object = None
    for number in count(1):
        try:
            found = await to_thread.run_sync(
                imports.find_with_wait_state, import_id, limiter=threads
            )
        except OUTAGES as error:
            name, document = "away", {"detail": problem_of(error).detail}
        except ImportNotFound:
            return
        else:
            name, document = _event_of(found), found
        if document != told:
            told = document
            yield encode_event(name, number, document)
        if name == "end":
            return
        await asyncio.sleep(POLL_INTERVAL)


def _event_of(summary: Summary) -> str:
    return "end" if summary["status"] in ENDED else "progress"
