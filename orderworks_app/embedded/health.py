"""Health checks of services, made as their clients connect, in at most about a second."""

from collections.abc import Callable
from http.client import HTTPException
from urllib.request import urlopen

import psycopg2
import redis

from orderworks.core.redis import make_redis

TIMEOUT = 1
"""Seconds that one check may take."""

HealthCheck = Callable[[str], bool]


def accepts_login(url: str) -> HealthCheck:
    """Healthy once PostgreSQL accepts this user, with its password, in its database."""

    def check(_log: str) -> bool:
        try:
            psycopg2.connect(url, connect_timeout=2 * TIMEOUT).close()
        except psycopg2.Error:
            return False
        return True

    return check


def answers_ping(url: str) -> HealthCheck:
    """Healthy once Redis or Valkey answers PING: after it has loaded its data."""

    def check(_log: str) -> bool:
        client = make_redis(url, timeout=TIMEOUT)
        try:
            return bool(client.ping())
        except (redis.RedisError, OSError):
            return False
        finally:
            client.close()

    return check


def logs_phrase(phrase: str) -> HealthCheck:
    """Healthy once the service has logged `phrase`: that costs no process and no message."""

    def check(log: str) -> bool:
        return phrase in log

    return check


def serves(url: str) -> HealthCheck:
    """Healthy once a GET of `url` is answered with 200."""

    def check(_log: str) -> bool:
        try:
            with urlopen(url, timeout=TIMEOUT) as response:  # noqa: S310 - an address of this stack
                return bool(response.status == 200)  # noqa: PLR2004 - HTTP's own number
        except (OSError, HTTPException):
            return False

    return check


def never(_log: str) -> bool:
    """The check of a one-shot, which exits and is never healthy."""
    return False
