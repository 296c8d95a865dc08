"""Tokens of clients of the gateway: made once, kept as a hash, looked up by it.

A token is 256 random bits, so a plain SHA-256 hides it: there is nothing to guess.
"""

import hashlib
import re
import secrets
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.errors import InvalidInput, TokenNotFound
from orderworks.core.schema import api_tokens
from orderworks.core.sql import Statement

PREFIX = "ow_"
"""By which people, and scanners for secrets, see what it is."""

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Scope(StrEnum):
    """What a token may be for. None of them holds another."""

    READ = "read"
    """Customers, orders, reports, imports and dead letters, to look at."""
    ENQUEUE = "enqueue"
    """Handing over updates and files."""
    OPERATE = "operate"
    """Steering imports, replaying dead letters."""


class Token(msgspec.Struct, frozen=True):
    """What is known of a token.

    Attributes:
        name: what people and logs call it.
        rate: requests a second that it may make; None for what the gateway has as default.
        revoked_at: since when it lets nobody in.
    """

    name: str
    scopes: list[Scope]
    rate: float | None
    created_at: datetime
    revoked_at: datetime | None


def create_token(
    connection: sa.Connection, name: str, scopes: Collection[Scope], rate: float | None = None
) -> str:
    """A new token, which cannot be read anywhere afterwards.

    Raises:
        InvalidInput: the name is no name, or was given before; or it is for nothing.
    """
    if not NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is no name: take 1 to 64 of A-Z a-z 0-9 . _ -")
    if not scopes or (rate is not None and not 0 < rate < float("inf")):
        raise InvalidInput("a token has one scope or more, and a rate above 0 if it has one")
    token = PREFIX + secrets.token_urlsafe(32)
    row = {"name": name, "digest": digest(token), "scopes": sorted(set(scopes)), "rate": rate}
    adding = insert(api_tokens).values(row).on_conflict_do_nothing()
    if connection.scalar(adding.returning(api_tokens.c.id)) is None:
        raise InvalidInput(f"a token had the name {name!r} before: names are not given twice")
    return token


def list_tokens(connection: sa.Connection) -> list[Token]:
    """All tokens, the revoked ones too, by name."""
    columns = api_tokens.c["name", "scopes", "rate", "created_at", "revoked_at"]
    rows = connection.execute(sa.select(*columns).order_by(api_tokens.c.name))
    return [
        Token(name, [Scope(each) for each in scopes], rate, created_at, revoked_at)
        for name, scopes, rate, created_at, revoked_at in rows
    ]


def revoke_token(connection: sa.Connection, name: str) -> None:
    """Let nobody in with it any more. Again does nothing.

    Raises:
        TokenNotFound: no token has that name.
    """
    revoked_at = sa.func.coalesce(api_tokens.c.revoked_at, sa.func.now())
    revoking = sa.update(api_tokens).where(api_tokens.c.name == name).values(revoked_at=revoked_at)
    if not connection.execute(revoking).rowcount:
        raise TokenNotFound(f"no token has the name {name!r}; `orderworks token list` lists them")


def count_valid(connection: sa.Connection) -> int:
    """How many tokens let somebody in."""
    valid = sa.select(sa.func.count()).where(api_tokens.c.revoked_at.is_(None))
    return int(connection.execute(valid).scalar_one())


def digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


BY_DIGEST = Statement(
    sa.select(*api_tokens.c["name", "scopes", "rate"]).where(
        api_tokens.c.digest == sa.bindparam("digest", type_=sa.LargeBinary),
        api_tokens.c.revoked_at.is_(None),
    )
)
"""The valid token of this digest, for event loops."""

ANY_TOKEN_EXISTS = Statement(sa.select(sa.exists(sa.select(api_tokens.c.id))))
"""Whether a token was ever made; one that was revoked counts, or its end would open the door."""
