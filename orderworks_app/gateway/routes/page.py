"""The page at `/` and its files, which are part of the package."""

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
"""The types of files that are served, by the suffix of their names."""

READ = ["GET", "HEAD"]


class PageFile(NamedTuple):
    """A file of the page; `tag` is its ETag."""

    body: bytes
    media_type: str
    tag: str


@router.api_route("/", methods=READ)
async def page(request: Request) -> Response:
    """Return the page. It needs no token: it has no data, and requests them with the reader's token."""
    return _response(request, _files()["index.html"])


@router.api_route("/page/{name}", methods=READ)
async def page_file(name: str, request: Request) -> Response:
    """Return a script, the style sheet or the icon of the page."""
    file = _files().get(name)
    if file is None:
        raise not_found(f"the page has no file {name!r}")
    return _response(request, file)


def _response(request: Request, file: PageFile) -> Response:
    """Return the file, or 304 if the browser has this version. Browsers revalidate it each time."""
    headers = {"ETag": file.tag, "Cache-Control": "no-cache"}
    if file.tag in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.media_type)


@cache
def _files() -> dict[str, PageFile]:
    """Return all files by name. They are read once per process."""
    loaded = {}
    for each in files("orderworks_app.gateway").joinpath("static").iterdir():
        suffix = "." + each.name.rpartition(".")[2]
        if suffix in MEDIA_TYPES:
            body = each.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            loaded[each.name] = PageFile(body, MEDIA_TYPES[suffix], tag)
    return loaded
