"""Commands and options of `orderworks`, on which scripts rely, are unchanged.

`test_surface.py` describes how to rewrite the golden files.
"""

import enum
from collections.abc import Iterator
from typing import Any, get_args

import typer

from orderworks_app.cli.app import app
from tests.support.golden import GOLDEN, compare


def test_commands_and_their_options_are_unchanged() -> None:
    compare("commands.txt", sorted(command_facts(typer.main.get_command(app))))


def commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - Click's
    """A command and all below it, by what is typed."""
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, f"{path} {name}".strip())


def command_facts(root: Any) -> Iterator[str]:  # noqa: ANN401 - likewise
    """A line a command, and a line a parameter."""
    for path, command in commands(root):
        hidden = " (hidden)" if command.hidden else ""
        alone = " (works alone)" if getattr(command, "invoke_without_command", False) else ""
        yield f"orderworks {path}".strip() + hidden + alone
        place = 0
        for parameter in command.params:
            is_option = parameter.param_type_name == "option"
            place += not is_option
            called = spellings(parameter) if is_option else f"argument {place}"
            yield f"orderworks {path} {called}, {parameter_fact(parameter)}"


def spellings(option: Any) -> str:  # noqa: ANN401 - likewise
    """All that can be typed for an option."""
    return "/".join([*option.opts, *option.secondary_opts])


def parameter_fact(parameter: Any) -> str:  # noqa: ANN401 - likewise
    """A parameter's values, without its prose."""
    flags = {
        "hidden": parameter.hidden,
        "required": parameter.required,
        "multiple": parameter.multiple or parameter.nargs != 1,
    }
    said = [
        "flag" if getattr(parameter, "is_flag", False) else taken(parameter),
        *(word for word, holds in flags.items() if holds),
        *default(parameter.default),
    ]
    return ", ".join(said)


def taken(parameter: Any) -> str:  # noqa: ANN401 - likewise
    """The type of a value, by its name in Python or by its choices, with its limits."""
    kind = parameter.type_descriptor.annotation
    (kind,) = get_args(kind) or (kind,)
    if issubclass(kind, enum.Enum):
        return "|".join(str(each.value) for each in kind)
    limits = {"from": parameter.min, "to": parameter.max}
    bounds = [f" {word} {limit}" for word, limit in limits.items() if limit is not None]
    return "".join([kind.__name__, *bounds])


def default(value: object) -> list[str]:
    """The default, if there is one that is no function."""
    if value is None or value is False or callable(value):
        return []
    return [f"default {value.value if isinstance(value, enum.Enum) else value}"]


def test_every_command_with_json_has_its_document_frozen() -> None:
    shown = {
        path
        for path, command in commands(typer.main.get_command(app))
        for parameter in command.params
        if "--json" in parameter.opts and parameter.is_flag
    }
    files = GOLDEN.glob("documents_*.txt")
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    frozen = {line.partition(" | ")[0] for line in lines}
    assert {" ".join(filter(str.islower, words(each))) for each in frozen} == shown


def words(command: str) -> list[str]:
    """The words before the first option."""
    return command.partition(" --")[0].split()
