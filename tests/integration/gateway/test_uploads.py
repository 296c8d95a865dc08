"""Uploads of files: however one ends, the spool is clean and memory is bounded."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from orderworks.core.settings import Settings
from orderworks.imports.spool import Spool
from orderworks_app.gateway.http import middleware
from orderworks_app.gateway.transfers import uploads
from tests.support.gateways import client_of, running_gateway
from tests.support.processes import eventually

CSV = {"Content-Type": "text/csv"}
HEADER = b"id,customer_id,total\n"
PIECE = b"".join(b"%d,1,9.99\n" % (1_000_000 + each) for each in range(5000))


def spool_files(settings: Settings) -> list[Path]:
    """Files in the spool."""
    folder = Path(urlsplit(settings.spool).path)
    return [file for file in folder.rglob("*") if file.is_file()]


def endless() -> Iterator[bytes]:
    """A file without an end."""
    yield HEADER
    while True:
        yield PIECE


@pytest.fixture
def small(settings: Settings) -> Iterator[httpx.Client]:
    """A client of a gateway that accepts files of up to a megabyte."""
    limited = settings.model_copy(update={"import_max_bytes": 1_000_000})
    with running_gateway(limited) as address, client_of(address) as client:
        yield client


def test_upload_with_too_large_content_length_is_refused_unread(
    small: httpx.Client, settings: Settings
) -> None:
    """Its Content-Length is 5 GB, and not a byte is sent."""
    url = small.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        head = (
            f"POST /v1/imports HTTP/1.1\r\nHost: {url.host}\r\nContent-Type: text/csv\r\n"
            "Content-Length: 5000000000\r\n\r\n"
        )
        connection.sendall(head.encode())
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert spool_files(settings) == []


def test_endless_upload_is_stopped_and_leaves_nothing(
    small: httpx.Client, settings: Settings
) -> None:
    answer = small.post("/v1/imports", content=endless(), headers=CSV)
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:orderworks:problem:too-large"
    assert spool_files(settings) == []
    assert small.post("/v1/imports", content=HEADER + b"1,1,1\n", headers=CSV).status_code == 202


def begin(url: str) -> socket.socket:
    """Send the beginning of a file, and nothing more."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=20)
    head = (
        f"POST /v1/imports HTTP/1.1\r\nHost: {parts.hostname}\r\nContent-Type: text/csv\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    content = HEADER + 50 * PIECE
    connection.sendall(head.encode() + f"{len(content):x}\r\n".encode() + content + b"\r\n")
    return connection


def test_aborted_upload_leaves_no_file_and_no_import(
    gateway: str, http: httpx.Client, settings: Settings
) -> None:
    with begin(gateway):
        eventually(lambda: spool_files(settings), 10, "nothing of it has come")
    eventually(lambda: not spool_files(settings), 10, "it left something behind")
    assert Spool(settings.spool).list_waiting() == []
    assert http.get("/v1/imports").json()["imports"] == []


def test_stalled_upload_times_out_with_408(
    gateway: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "BODY_TIMEOUT", 0.5)
    with begin(gateway) as connection:
        assert connection.makefile("rb").readline().startswith(b"HTTP/1.1 408 ")
    assert spool_files(settings) == []


def test_excess_uploads_get_429_and_block_no_other_request(
    gateway: str, http: httpx.Client, settings: Settings
) -> None:
    connections = [begin(gateway) for _ in range(uploads.MAX_UPLOADS)]
    eventually(
        lambda: len(spool_files(settings)) == uploads.MAX_UPLOADS, 10, "they have not all begun"
    )
    refused = http.post("/v1/imports", content=HEADER + b"1,1,1\n", headers=CSV)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "6")
    assert http.post("/v1/orders/1", json={"status": "paid"}).status_code == 202
    assert http.get("/v1/imports").status_code == 200
    for each in connections:
        each.close()
    eventually(lambda: not spool_files(settings), 10, "they left something behind")
    accepted = http.post("/v1/imports", content=HEADER + b"1,1,1\n", headers=CSV)
    assert accepted.status_code == 202


def test_concurrent_uploads_are_stored_intact(http: httpx.Client, settings: Settings) -> None:
    contents = [HEADER + b"%d,1,1.00\n" % each + 20 * PIECE for each in range(uploads.MAX_UPLOADS)]
    import_ids: dict[int, str] = {}

    def send(number: int) -> None:
        answer = http.post("/v1/imports", content=contents[number], headers=CSV)
        import_ids[number] = answer.json()["id"]

    threads = [threading.Thread(target=send, args=(each,)) for each in range(len(contents))]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    spool = Spool(settings.spool)
    assert {key: b"".join(spool.stream(each)) for key, each in import_ids.items()} == dict(
        enumerate(contents)
    )
