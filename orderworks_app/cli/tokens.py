"""`orderworks token`: creates, lists and revokes tokens of the gateway."""

from typing import Annotated

import typer

from orderworks_app.cli.options import AsJson
from orderworks_app.gateway.auth.scopes import Scope

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
    from orderworks_app.cli.actions import tokens

    tokens.create(name, scope, rate, as_json)


@commands.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List all tokens: name, scopes, rate and times. The tokens themselves cannot be shown."""
    from orderworks_app.cli.actions import tokens

    tokens.show_tokens(as_json)


@commands.command()
def revoke(name: Annotated[str, typer.Argument(help="The token's name.")]) -> None:
    """Revoke a token; gateways reject it within 5 seconds. Its name cannot be used again."""
    from orderworks_app.cli.actions import tokens

    tokens.revoke(name)


@commands.command()
def reset() -> None:
    """Delete all tokens, if all are revoked. Then a gateway on the loopback needs no token again.

    Their names can be used again. A gateway on another address refuses all requests until a token is
    created.
    """
    from orderworks_app.cli.actions import tokens

    tokens.reset()
