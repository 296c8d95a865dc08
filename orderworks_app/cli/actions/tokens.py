"""Tokens of the gateway: creates, lists, revokes and deletes them."""

import sys
from collections.abc import Collection

from orderworks.core.database import make_engine
from orderworks.core.settings import Settings
from orderworks_app.gateway.auth.scopes import Scope
from orderworks_app.gateway.auth.token_store import (
    Token,
    count_valid,
    create_token,
    delete_revoked_tokens,
    list_tokens,
    revoke_token,
)
from orderworks_app.terminal import Column, escaped, print_json, print_sentence, print_table

ALL_REVOKED = (
    "No token is valid now: gateways refuse all requests. `orderworks token create` creates one; "
    "`orderworks token reset` opens a gateway on the loopback again."
)


def create(name: str, scopes: Collection[Scope], rate: float | None, as_json: bool) -> None:  # noqa: FBT001
    """Create a token and print it."""
    with make_engine(Settings.load(), "orderworks-cli").begin() as connection:
        token = create_token(connection, name, scopes, rate)
    if as_json:
        print_json({"name": name, "scopes": scopes, "rate": rate, "token": token})
    else:
        sys.stdout.write(f"{token}\n")


def show_tokens(as_json: bool) -> None:  # noqa: FBT001 - the output format
    """Print all tokens, without the tokens themselves."""
    with make_engine(Settings.load(), "orderworks-cli").connect() as connection:
        tokens = list_tokens(connection)
    if as_json:
        print_json({"tokens": tokens})
    elif not tokens:
        print_sentence(
            "No tokens. On the loopback, every client on this machine may use the gateway."
        )
    else:
        _print(tokens)


def revoke(name: str) -> None:
    """Revoke a token."""
    with make_engine(Settings.load(), "orderworks-cli").begin() as connection:
        revoke_token(connection, name)
        is_last = not count_valid(connection)
    print_sentence(f"{escaped(name)} is revoked; gateways reject it within 5 s.")
    if is_last:
        print_sentence(ALL_REVOKED)


def reset() -> None:
    """Delete all tokens, if all are revoked."""
    with make_engine(Settings.load(), "orderworks-cli").begin() as connection:
        deleted = delete_revoked_tokens(connection)
    print_sentence(
        f"Deleted {deleted} revoked {'token' if deleted == 1 else 'tokens'}. Within 5 s, every client "
        "on this machine may use the gateway on the loopback without a token."
    )


def _print(tokens: list[Token]) -> None:
    rows = [
        (
            escaped(each.name),
            " ".join(each.scopes),
            f"{each.rate:g}" if each.rate else "",
            f"{each.created_at:%Y-%m-%d %H:%M}",
            f"{each.revoked_at:%Y-%m-%d %H:%M}" if each.revoked_at else "",
        )
        for each in tokens
    ]
    columns = (
        *(Column("name"), Column("scopes", least=8), Column("rate", right=True)),
        *(Column("created"), Column("revoked")),
    )
    print_table(columns, rows, optional=("created", "rate"))
