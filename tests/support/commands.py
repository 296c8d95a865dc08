"""What running `orderworks` in a test gives."""

from collections.abc import Callable
from typing import NamedTuple


class Done(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


RunCommand = Callable[..., Done]
"""Takes the command's arguments, and variables of the environment by name."""
