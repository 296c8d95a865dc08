"""Dead updates as text: a table, one in full, and the result of a replay."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from orderworks.updates.dead_letters import Letter
from orderworks.updates.replay import Unreadable
from orderworks_app.operations.timespans import format_span
from orderworks_app.terminal import Column, console, escaped, print_sentence, print_table

COLUMNS = (
    *(Column("id", right=True), Column("order", right=True), Column("since")),
    *(Column("attempts", right=True), Column("reason", least=24), Column("update", least=24)),
)

PAYLOAD_CHARS = 60
"""Characters of an update that the list shows."""


def print_list(letters: Sequence[Letter]) -> None:
    """Print a table row for each dead update."""
    rows = [
        (
            str(each.id),
            _order(each),
            _when(each),
            str(each.attempts),
            escaped(each.reason),
            escaped(_shorten(each.payload)),
        )
        for each in letters
    ]
    print_table(COLUMNS, rows, optional=("attempts", "update", "since"))


def print_letter(letter: Letter) -> None:
    """Print all fields of one dead update."""
    print_sentence(
        f"Dead update {letter.id} of order {_order(letter)}, accepted "
        f"{letter.accepted_at:%Y-%m-%d %H:%M:%S} UTC as {letter.entry}, dead-lettered {_when(letter)} "
        f"after {letter.attempts:,} attempts."
    )
    print_sentence(f"Reason: {escaped(letter.reason)}")
    print_sentence(f"Update: {escaped(letter.payload)}")
    if letter.version is not None:
        print_sentence(f"Version: {letter.version}")


def print_replayed(replayed: int, left: int, unreadable: Sequence[Unreadable]) -> None:
    """Print how many were replayed, and which could not be."""
    rest = f"; {left:,} remain" if left else ""
    print_sentence(f"Replayed {replayed:,} updates{rest}.")
    for each in unreadable:
        reason = escaped(each.reason)
        print_sentence(
            f"[red]Dead update {each.id} was not replayed: it cannot be read: {reason}[/]"
        )


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar; the function takes the number of replayed updates and of all to replay.

    Without a terminal, nothing is shown.
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
