"""`orderworks token`: who may use the gateway, and for what."""

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
    help="Say who may use the gateway. As soon as there is one token, everybody needs one.",
)


@commands.command()
def create(
    name: Annotated[str, typer.Argument(help="What people and logs call it.")],
    *,
    scope: Annotated[
        list[Scope], typer.Option(help="What it is for; give it several times for several.")
    ],
    rate: Annotated[
        float | None, typer.Option(help="Requests a second that it may make [GATEWAY_RATE].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it: only now, nobody can read it later."""
    with make_engine(Settings.load(), "orderworks-cli").begin() as connection:
        token = create_token(connection, name, scope, rate)
    if as_json:
        print_json({"name": name, "scopes": scope, "rate": rate, "token": token})
    else:
        sys.stdout.write(f"{token}\n")


@commands.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List the tokens, without the tokens themselves."""
    with make_engine(Settings.load(), "orderworks-cli").connect() as connection:
        found = list_tokens(connection)
    if as_json:
        print_json({"tokens": found})
    elif not found:
        print_sentence(
            "There is none: on the loopback, whoever is on this machine may use the gateway."
        )
    else:
        _print(found)


@commands.command()
def revoke(name: Annotated[str, typer.Argument(help="Which one.")]) -> None:
    """Let nobody in with a token any more, within 5 seconds. Its name is not given again."""
    with make_engine(Settings.load(), "orderworks-cli").begin() as connection:
        revoke_token(connection, name)
    print_sentence(f"{escaped(name)} is revoked; gateways know it within 5 s.")


def _print(tokens: list[Token]) -> None:
    lines = table("name", "scopes", "rate", "made", "revoked", right=("rate",))
    for each in tokens:
        lines.add_row(
            escaped(each.name),
            " ".join(each.scopes),
            f"{each.rate:g}" if each.rate else "",
            f"{each.created_at:%Y-%m-%d %H:%M}",
            f"{each.revoked_at:%Y-%m-%d %H:%M}" if each.revoked_at else "",
        )
    console.print(lines)
