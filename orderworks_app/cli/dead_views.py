"""How dead updates are shown to people: a list, some by name, and what a replay did."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from orderworks.updates.dead_letters import Letter
from orderworks.updates.replay import Unreadable
from orderworks_app.operations.timespans import format_span
from orderworks_app.terminal import console, escaped, print_sentence, table

PAYLOAD_CHARS = 60
"""Characters of an update that the list shows."""


def print_list(letters: Sequence[Letter]) -> None:
    """A line for each dead update."""
    lines = table(
        "id", "order", "died", "tries", "reason", "update", right=("id", "order", "tries")
    )
    for each in letters:
        lines.add_row(
            str(each.id),
            _order(each),
            _when(each),
            str(each.attempts),
            escaped(each.reason),
            escaped(_shorten(each.payload)),
        )
    console.print(lines)


def print_letter(letter: Letter) -> None:
    """All that is known of one."""
    print_sentence(
        f"Dead update {letter.id} of order {_order(letter)}, accepted "
        f"{letter.accepted_at:%Y-%m-%d %H:%M:%S} UTC as {letter.entry}, died {_when(letter)} "
        f"after {letter.attempts:,} attempts."
    )
    print_sentence(f"Why: {escaped(letter.reason)}")
    print_sentence(f"The update: {escaped(letter.payload)}")
    if letter.version is not None:
        print_sentence(f"Its version: {letter.version}")


def print_replayed(replayed: int, left: int, unreadable: Sequence[Unreadable]) -> None:
    """What a replay did, and what it could not."""
    rest = f"; {left:,} are left" if left else ""
    print_sentence(f"Replayed {replayed:,} updates{rest}.")
    for each in unreadable:
        reason = escaped(each.reason)
        print_sentence(f"[red]Dead update {each.id} stays: it cannot be read: {reason}[/]")


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar that moves with every count of the done, of how many, that the function is given.

    None where there is no terminal to show it.
    """
    if not console.is_terminal:
        yield lambda _done, _planned: None
        return
    columns = (TextColumn("replayed"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("replay", total=None)
        yield lambda done, planned: progress.update(bar, completed=done, total=planned)


def _order(letter: Letter) -> str:
    return "?" if letter.order_id is None else str(letter.order_id)


def _when(letter: Letter) -> str:
    ago = f"{format_span((datetime.now(UTC) - letter.died_at).total_seconds())} ago"
    return f"{ago}, replayed" if letter.replayed_at else ago


def _shorten(payload: str) -> str:
    return payload if len(payload) <= PAYLOAD_CHARS else f"{payload[: PAYLOAD_CHARS - 1]}…"
