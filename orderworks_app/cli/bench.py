"""`orderworks bench`: the commands of `bench/`, which a clone has and a wheel has not."""

from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

import orderworks_app
from orderworks.core.errors import ConfigurationError


class NotInstalled(TyperGroup):
    """The group `bench` of an installed package: every benchmark is refused with a remedy."""

    def invoke(self, _context: Any) -> NoReturn:  # noqa: ANN401 - Typer does not export the type
        """Raise ConfigurationError, whichever benchmark is named."""
        raise ConfigurationError(
            "the benchmarks are not part of the package: run `orderworks bench` from a clone of "
            "the repository, after `make demo` or `pip install --editable '.[embedded]'`"
        )


def bench_commands() -> typer.Typer:
    """The commands of `bench/`; without a clone, a group that says where to find them."""
    root = Path(orderworks_app.__file__).parents[1]
    if (root / "bench" / "commands.py").is_file():
        commands: typer.Typer = import_module("bench.commands").commands
        return commands
    missing = typer.Typer(cls=NotInstalled, help="Run benchmarks (from a clone).")
    missing.callback(invoke_without_command=True)(lambda: None)
    return missing
