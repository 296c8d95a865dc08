"""A local server that speaks S3, and buckets on it."""

import http.client
import itertools
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from orderworks_app.embedded.ports import LOOPBACK
from tests.support.processes import eventually

_numbers = itertools.count(1)


@dataclass(frozen=True)
class S3:
    """A running server."""

    endpoint: str
    pid: int


@dataclass(frozen=True)
class Bucket:
    """A bucket of a test's own, and where it is."""

    server: S3
    name: str

    def open_uploads(self) -> list[str]:
        """The keys of multipart uploads that were neither ended nor given up."""
        answer = _ask(self.server.endpoint, "GET", f"/{self.name}?uploads")
        return re.findall("<Key>(.*?)</Key>", answer.decode())


@contextmanager
def running_s3() -> Iterator[S3]:
    """A server, gone with all of its buckets at the end."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--host", LOOPBACK, "--port", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    endpoint = f"http://{LOOPBACK}:{port}"
    try:
        eventually(lambda: _answers(endpoint), 30, "the S3 server does not answer")
        yield S3(endpoint, server.pid)
    finally:
        server.kill()
        server.wait(timeout=10)


@contextmanager
def new_bucket(server: S3) -> Iterator[Bucket]:
    """An empty bucket; the environment has its address and keys, as an operator sets them."""
    bucket = Bucket(server, f"bucket-{os.getpid()}-{next(_numbers)}")
    _ask(server.endpoint, "PUT", f"/{bucket.name}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "someone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "something secret")
        yield bucket


def _answers(endpoint: str) -> bool:
    try:
        _ask(endpoint, "GET", "/")
    except OSError:
        return False
    return True


def _ask(endpoint: str, method: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    assert response.status == http.HTTPStatus.OK, content
    return content
