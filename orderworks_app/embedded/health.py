"""Whether a part works: asked from outside, the way its clients will, in at most about a second."""

from collections.abc import Callable
from http.client import HTTPException
from urllib.request import urlopen

import psycopg2
import redis

from orderworks.core.redis import make_redis

PATIENCE = 1
"""Seconds that one question may take."""

Check = Callable[[str], bool]


def accepts_login(url: str) -> Check:
    """Healthy once PostgreSQL lets this user in, with its password, to its database."""

    def check(_log: str) -> bool:
        try:
            psycopg2.connect(url, connect_timeout=2 * PATIENCE).close()
        except psycopg2.Error:
            return False
        return True

    return check


def answers_ping(url: str) -> Check:
    """Healthy once Redis or Valkey answers PING: after it has loaded its data."""

    def check(_log: str) -> bool:
        client = make_redis(url, timeout=PATIENCE)
        try:
            return bool(client.ping())
        except (redis.RedisError, OSError):
            return False
        finally:
            client.close()

    return check


def says(phrase: str) -> Check:
    """Healthy once the part has logged `phrase`: that costs no process and no message."""

    def check(log: str) -> bool:
        return phrase in log

    return check


def serves(url: str) -> Check:
    """Healthy once a GET of `url` is answered with 200."""

    def check(_log: str) -> bool:
        try:
            with urlopen(url, timeout=PATIENCE) as response:  # noqa: S310 - the address is ours
                return bool(response.status == 200)  # noqa: PLR2004 - HTTP's own number
        except (OSError, HTTPException):
            return False

    return check


def never(_log: str) -> bool:
    """The check of a one-shot: it is not healthy, it ends."""
    return False
