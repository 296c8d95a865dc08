"""The table of the gateway's tokens, which has their hashes only.

A token is 256 random bits, so an unsalted SHA-256 suffices: such tokens cannot be guessed.
"""

import hashlib
import re
import secrets
from collections.abc import Collection
from datetime import datetime

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.errors import InvalidInput, TokenNotFound
from orderworks.core.schema import api_tokens
from orderworks.core.sql import Statement
from orderworks_app.gateway.auth.scopes import Scope

PREFIX = "ow_"
"""The beginning of each token, by which people and scanners for secrets recognize it."""

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Token(msgspec.Struct, frozen=True):
    """A row of the table, without the hash.

    Attributes:
        name: identifies the token for people and in logs.
        rate: requests per second that it may make; None for the gateway's default.
        revoked_at: the time since which it is not valid.
    """

    name: str
    scopes: list[Scope]
    rate: float | None
    created_at: datetime
    revoked_at: datetime | None


def create_token(
    connection: sa.Connection, name: str, scopes: Collection[Scope], rate: float | None = None
) -> str:
    """Create a token and return it: it is not stored, so it cannot be read again.

    Raises:
        InvalidInput: the name is not valid or was used before; there is no scope; or the rate is not
            above 0.
    """
    if not NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is not a valid name: use 1 to 64 of A-Z a-z 0-9 . _ -")
    if not scopes or (rate is not None and not 0 < rate < float("inf")):
        raise InvalidInput("a token needs at least one scope, and a rate must be above 0")
    token = PREFIX + secrets.token_urlsafe(32)
    row = {"name": name, "digest": digest(token), "scopes": sorted(set(scopes)), "rate": rate}
    statement = insert(api_tokens).values(row).on_conflict_do_nothing()
    if connection.scalar(statement.returning(api_tokens.c.id)) is None:
        raise InvalidInput(
            f"the name {name!r} was used before, and names of revoked tokens are not reused. Choose "
            "another one; if no token is valid, `orderworks token reset` frees all names"
        )
    return token


def list_tokens(connection: sa.Connection) -> list[Token]:
    """Return all tokens, including the revoked ones, by name."""
    columns = api_tokens.c["name", "scopes", "rate", "created_at", "revoked_at"]
    rows = connection.execute(sa.select(*columns).order_by(api_tokens.c.name))
    return [
        Token(name, [Scope(each) for each in scopes], rate, created_at, revoked_at)
        for name, scopes, rate, created_at, revoked_at in rows
    ]


def revoke_token(connection: sa.Connection, name: str) -> None:
    """Revoke a token. Idempotent.

    Raises:
        TokenNotFound: no token has that name.
    """
    revoked_at = sa.func.coalesce(api_tokens.c.revoked_at, sa.func.now())
    statement = sa.update(api_tokens).where(api_tokens.c.name == name).values(revoked_at=revoked_at)
    if not connection.execute(statement).rowcount:
        raise TokenNotFound(f"no token has the name {name!r}; `orderworks token list` lists them")


def delete_revoked_tokens(connection: sa.Connection) -> int:
    """Delete all tokens and return their number, if all are revoked: as if none was ever created.

    A token that another session creates meanwhile stays.

    Raises:
        InvalidInput: a token is valid.
    """
    if valid := count_valid(connection):
        raise InvalidInput(
            f"{valid} {'token is' if valid == 1 else 'tokens are'} valid: revoke each of them first; "
            "`orderworks token list` lists them"
        )
    revoked = api_tokens.c.revoked_at.is_not(None)
    return connection.execute(sa.delete(api_tokens).where(revoked)).rowcount


def count_valid(connection: sa.Connection) -> int:
    """Return the number of tokens that are not revoked."""
    count = sa.select(sa.func.count()).where(api_tokens.c.revoked_at.is_(None))
    return int(connection.execute(count).scalar_one())


def digest(token: str) -> bytes:
    """Return the hash under which a token is stored."""
    return hashlib.sha256(token.encode()).digest()


BY_DIGEST = Statement(
    sa.select(*api_tokens.c["name", "scopes", "rate"]).where(
        api_tokens.c.digest == sa.bindparam("digest", type_=sa.LargeBinary),
        api_tokens.c.revoked_at.is_(None),
    )
)
"""Selects the valid token with a digest; for event loops."""

ANY_TOKEN_EXISTS = Statement(sa.select(sa.exists(sa.select(api_tokens.c.id))))
"""Selects whether a token was ever created. Revoked ones count: revoking the last one must not open the
gateway."""
