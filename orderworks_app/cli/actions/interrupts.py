"""Ctrl-C while a command waits: ends the wait, and names how to see the result later."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from orderworks_app.cli import INTERRUPTED


@contextmanager
def explained_interrupt(sentence: Callable[[], str]) -> Iterator[None]:
    """On Ctrl-C in the block, print the sentence on standard error and exit.

    Raises:
        typer.Exit: Ctrl-C was typed.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\norderworks: {sentence()}\n")
        raise typer.Exit(INTERRUPTED) from None


def import_continues(import_id: str) -> str:
    """Return the sentence about an import that is not followed any more."""
    return (
        f"import {import_id} continues: follow it with `orderworks imports {import_id} --follow`, or "
        f"stop it with `orderworks cancel {import_id}`"
    )


def dry_run_continues(import_id: str) -> str:
    """Return the sentence about a dry run that is not waited for any more."""
    return f"the dry run continues: `orderworks imports {import_id}` shows its result"


def update_continues(entry: str, order_id: int) -> str:
    """Return the sentence about an update whose verdict is not waited for any more."""
    return (
        f"update {entry} stays accepted, and workers apply it; if they cannot, "
        f"`orderworks dead --order {order_id}` lists it"
    )
