"""The result of `orderworks` that ran in a test."""

from collections.abc import Callable
from typing import NamedTuple


class Done(NamedTuple):
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str


RunCommand = Callable[..., Done]
"""Takes the command's arguments, and variables of the environment by name."""
