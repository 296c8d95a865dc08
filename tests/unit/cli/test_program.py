"""The options of the program itself: version, help and shell completion."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

HEAVY = (
    *("alembic", "asyncpg", "celery", "fastapi", "kombu", "obstore", "polars", "prometheus_client"),
    *("psycopg2", "pyarrow", "pydantic_settings", "redis", "sqlalchemy", "starlette", "structlog"),
    *("tenacity", "tornado", "uvicorn"),
)
"""Libraries that some commands work with."""

HELP_OF_ALL_COMMANDS = """
import contextlib, io, sys
import typer
from orderworks_app.cli.app import app

def show_help(command, path):
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        assert command.main(["--help"], "orderworks", standalone_mode=False) == 0
    assert "Usage: " in shown.getvalue()
    paths = [path]
    for name, each in getattr(command, "commands", {}).items():
        paths += show_help(each, f"{path} {name}")
    return paths

paths = show_help(typer.main.get_command(app), "orderworks")
print(len(paths), *(name for name in HEAVY if name in sys.modules))
"""

ORDERWORKS = Path(sys.executable).with_name("orderworks")


def output(*arguments: str, **environment: str) -> str:
    """Return the output of the installed command."""
    return subprocess.run(
        [ORDERWORKS, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_version_names_the_program_and_python() -> None:
    expected = f"orderworks {version('orderworks')} (Python {platform.python_version()})\n"
    assert output("--version") == expected


@pytest.mark.parametrize("command", [(), ("imports",), ("beat", "set")])
def test_h_prints_the_same_help_as_the_long_option(command: tuple[str, ...]) -> None:
    assert output(*command, "-h") == output(*command, "--help")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_exists_for_the_shell(shell: str) -> None:
    script = output(_ORDERWORKS_COMPLETE=f"source_{shell}")
    assert f"complete_{shell}" in script


def test_bash_completes_commands_and_values() -> None:
    program = f"""
        PATH={ORDERWORKS.parent}:$PATH
        eval "$(_ORDERWORKS_COMPLETE=source_bash orderworks)"
        complete_words() {{
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            _orderworks_completion orderworks
            echo ${{COMPREPLY[*]}}
        }}
        complete_words orderworks resh
        complete_words orderworks report top-customers --window 3
    """
    done = subprocess.run(["/bin/bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["reshard", "365d 30d"]


def test_help_of_every_command_loads_no_library_that_only_its_work_needs() -> None:
    program = f"HEAVY = {HEAVY}\n{HELP_OF_ALL_COMMANDS}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    shown, *loaded = done.stdout.split()
    assert int(shown) > 40
    assert not loaded
