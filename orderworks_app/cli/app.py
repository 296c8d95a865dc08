"""All commands in one place, in the order in which `orderworks --help` lists them."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from orderworks.core.invalid_values import describe
from orderworks_app.cli import (
    beat,
    database,
    import_control,
    imports,
    reports,
    stack,
    tokens,
    updates,
)
from orderworks_app.cli.bench import bench_commands
from orderworks_app.cli.dead import dead
from orderworks_app.cli.demo import demo
from orderworks_app.cli.doctor import doctor
from orderworks_app.cli.failures import report_failures
from orderworks_app.cli.gateway import gateway
from orderworks_app.cli.metrics import metrics
from orderworks_app.cli.rebuild import rebuild
from orderworks_app.cli.reshard import reshard
from orderworks_app.cli.status import status


class Program(TyperGroup):
    """The program, whose errors about options are in our words."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer does not export the type
        """Run the command; an error about a value gets our sentence instead of pydantic's."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            # Typer has loaded pydantic by then.
            if details := getattr(error.__cause__, "errors", None):
                error.message = describe(details()[0])
            raise


app = typer.Typer(
    name="orderworks",
    cls=Program,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Background jobs for an orders database: bulk updates and imports, guaranteed cache "
    "invalidation, precomputed reports. The commands use the servers that the environment names "
    "(DATABASE_URL, REDIS_URL, …), else the embedded ones that `orderworks up` starts.",
)


def print_version(wanted: bool) -> None:  # noqa: FBT001 - the value of the option
    """Print the versions of Orderworks and of Python, and exit."""
    import platform
    from importlib.metadata import version

    if wanted:
        typer.echo(f"orderworks {version('orderworks')} (Python {platform.python_version()})")
        raise typer.Exit


@app.callback()
def main(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=print_version,
            is_eager=True,
            help="Print the versions of Orderworks and of Python, and exit.",
        ),
    ] = False,
) -> None:
    """Parse the options that stand before the command."""


app.command()(demo)
app.command()(stack.up)
app.command()(gateway)
app.add_typer(tokens.commands, name="token")
app.command("import")(imports.import_file)
app.command()(imports.imports)
app.command()(imports.rejects)
app.command()(import_control.pause)
app.command()(import_control.resume)
app.command()(import_control.cancel)
app.command()(import_control.retry)
app.command()(updates.update)
app.command()(dead)
app.add_typer(reports.commands, name="report")
app.add_typer(beat.commands, name="beat")
app.command()(status)
app.command()(metrics)
app.command()(stack.env)
app.command()(doctor)
app.command()(rebuild)
app.command()(reshard)
app.add_typer(database.commands, name="db")
app.add_typer(bench_commands(), name="bench")


def run() -> None:
    """Run the command that the arguments name."""
    with report_failures():
        app()
