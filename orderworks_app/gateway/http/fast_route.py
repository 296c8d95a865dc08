"""Routes of cached reads, which would spend most of their time in FastAPI's solving of dependencies."""

import re
from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

ID_PATTERN = re.compile(r"[1-9][0-9]{0,17}")
"""Ids that are certainly valid. Any other value is left to FastAPI, which reports what is wrong."""


class FastRoute(APIRoute):
    """A route whose endpoint takes the request, the id in its path, and optional query parameters.

    It is declared, documented and validated as any other. But if the id is valid and there is no query,
    its dependencies and its endpoint are called directly: FastAPI's solving of them takes three times as
    long as a cached read.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401 - FastAPI's
        super().__init__(path, endpoint, **options)
        self._solve, self.app = self.app, self._call

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        (id_,) = scope["path_params"].values()
        if scope["query_string"] or not ID_PATTERN.fullmatch(id_):
            await self._solve(scope, receive, send)
            return
        request = Request(scope, receive, send)
        for each in self.dependencies:
            await each.dependency(request)  # type: ignore[misc]  # each is of `requires`
        response = await self.endpoint(request, int(id_))
        await response(scope, receive, send)
