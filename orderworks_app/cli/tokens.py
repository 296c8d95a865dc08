"""`orderworks token`: creates, lists and revokes tokens of the gateway."""

import sys
from typing import Annotated

import typer

from orderworks.core.database import make_engine
from orderworks.core.settings import Settings
from orderworks_app.cli.options import AsJson
from orderworks_app.gateway.auth.token_store import (
    Scope,
    Token,
    create_token,
    list_tokens,
    revoke_token,
)
from orderworks_app.terminal import console, escaped, print_json, print_sentence, table

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Manage the gateway's tokens. Once a token exists, every request needs one.",
)


@commands.command()
def create(
    name: Annotated[str, typer.Argument(help="Its name in lists and logs.")],
    *,
    scope: Annotated[list[Scope], typer.Option(help="Permission of the token; may be repeated.")],
    rate: Annotated[
        float | None, typer.Option(help="Requests per second that it may make [GATEWAY_RATE].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a token and print it. It cannot be shown again."""
    with make_engine(Settings.load(), "orderworks-cli").begin() as connection:
        token = create_token(connection, name, scope, rate)
    if as_json:
        print_json({"name": name, "scopes": scope, "rate": rate, "token": token})
    else:
        sys.stdout.write(f"{token}\n")


@commands.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List all tokens: name, scopes, rate and times. The tokens themselves cannot be shown."""
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


@commands.command()
def revoke(name: Annotated[str, typer.Argument(help="The token's name.")]) -> None:
    """Revoke a token; gateways reject it within 5 seconds. Its name cannot be used again."""
    with make_engine(Settings.load(), "orderworks-cli").begin() as connection:
        revoke_token(connection, name)
    print_sentence(f"{escaped(name)} is revoked; gateways reject it within 5 s.")


def _print(tokens: list[Token]) -> None:
    rows = table("name", "scopes", "rate", "created", "revoked", right=("rate",))
    for each in tokens:
        rows.add_row(
            escaped(each.name),
            " ".join(each.scopes),
            f"{each.rate:g}" if each.rate else "",
            f"{each.created_at:%Y-%m-%d %H:%M}",
            f"{each.revoked_at:%Y-%m-%d %H:%M}" if each.revoked_at else "",
        )
    console.print(rows)
