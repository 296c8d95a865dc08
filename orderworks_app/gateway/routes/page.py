"""The page at `/` and the files that it is made of: kept in the package, loaded from no other host."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import Response

from orderworks_app.gateway.http.problems import not_found

router = APIRouter(include_in_schema=False)

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What may be part of the page, by the end of its name."""

READ = ["GET", "HEAD"]


class PageFile(NamedTuple):
    """A part of the page as it is sent; `tag` is its ETag."""

    body: bytes
    media_type: str
    tag: str


@router.api_route("/", methods=READ)
async def page(request: Request) -> Response:
    """The page itself. Whoever opens it needs no token: all that it shows, it asks for."""
    return _sent(request, _files()["index.html"])


@router.api_route("/page/{name}", methods=READ)
async def part(name: str, request: Request) -> Response:
    """A script, a sheet or a picture of the page."""
    found = _files().get(name)
    if found is None:
        raise not_found(f"the page has no part {name!r}")
    return _sent(request, found)


def _sent(request: Request, file: PageFile) -> Response:
    """The file; 304 without it if the browser has this very one. It asks each time."""
    headers = {"ETag": file.tag, "Cache-Control": "no-cache"}
    if file.tag in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.media_type)


@cache
def _files() -> dict[str, PageFile]:
    """All parts by name, read once in a process."""
    found = {}
    for each in files("orderworks_app.gateway").joinpath("static").iterdir():
        ending = "." + each.name.rpartition(".")[2]
        if ending in MEDIA_TYPES:
            body = each.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            found[each.name] = PageFile(body, MEDIA_TYPES[ending], tag)
    return found
