"""The commands of `orderworks bench`. Each loads its benchmark when it is run."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from orderworks.core.errors import ConfigurationError, InvalidInput
from orderworks_app.cli.stack import signals_as_interrupt

PICTURES = (".svg", ".png")

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Measure imports, updates and cached reads beside plain ways of doing the same (from a clone).",
)


def writable_file(file: Path | None) -> Path | None:
    """The file, if one is named, as one that can be written: before anything is measured.

    Raises:
        InvalidInput: it cannot be.
    """
    if file:
        try:
            # What an earlier run wrote stays until there is something new.
            file.open("ab").close()
        except OSError as error:
            raise InvalidInput(f"{file}: cannot be written: {error.strerror}") from None
    return file


def picture_file(file: Path | None) -> Path | None:
    """The file, if one is named, as one that a picture can be written to.

    Raises:
        InvalidInput: it cannot be written, or is no picture's name.
        ConfigurationError: what draws it is not installed.
    """
    if file and file.suffix not in PICTURES:
        raise InvalidInput(f"{file}: name it {' or '.join(f'*{each}' for each in PICTURES)}")
    if file and find_spec("matplotlib") is None:
        raise ConfigurationError("--plot needs matplotlib: pip install 'orderworks[dev]'")
    return writable_file(file)


RowsOption = Annotated[int, typer.Option(min=1000, help="Orders.")]
RoundsOption = Annotated[int, typer.Option(min=1, help="Rounds; their median counts.")]
PEERS = "Also other job systems; they are installed in your cache folder."
JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json", metavar="FILE", help="Write all figures to this file.", callback=writable_file
    ),
]

PlotFile = Annotated[
    Path | None,
    typer.Option(
        "--plot", metavar="FILE", help="Draw the rates to this SVG or PNG.", callback=picture_file
    ),
]


@commands.callback()
def bench() -> None:
    """Measure imports, updates and cached reads beside the plain ways of doing the same.

    Each benchmark starts a stack of its own and removes it with its data; no other is touched.
    """
    signals_as_interrupt()


@commands.command()
def imports(rows: RowsOption = 1_000_000, rounds: RoundsOption = 5, json: JsonFile = None) -> None:
    r"""Compare imports with `\copy`: new rows, changed rows, the same rows again, bad rows."""
    from bench import report
    from bench.imports import imports as benchmark

    report.publish(benchmark.run(rows, rounds), json)


@commands.command("imports-baselines")
def imports_baselines(
    rows: RowsOption = 1_000_000, rounds: RoundsOption = 5, json: JsonFile = None
) -> None:
    r"""Compare every other way of loading a file with `\copy` and an import."""
    from bench import report
    from bench.imports import imports as benchmark

    report.publish(benchmark.run_baselines(rows, rounds), json)


@commands.command("imports-growth")
def imports_growth(
    rows: RowsOption = 1_000_000,
    steps: Annotated[int, typer.Option(min=1, help="Files, one after another.")] = 10,
    json: JsonFile = None,
) -> None:
    """Import file after file of new orders: does the rate hold while the table grows?"""
    from bench import report
    from bench.imports import table_growth

    report.publish(table_growth.run(rows, steps), json)


@commands.command("imports-memory")
def imports_memory(
    rows: Annotated[
        list[int] | None, typer.Option(min=1000, help="Orders in the file; may be repeated.")
    ] = None,
    json: JsonFile = None,
) -> None:
    """Import files of several sizes: is the memory of producer and workers the same for all?"""
    from bench import report
    from bench.imports import memory

    report.publish(memory.run(rows or [100_000, 1_000_000, 5_000_000]), json)


@commands.command()
def updates(
    *,
    rows: RowsOption = 1_000_000,
    count: Annotated[
        int, typer.Option("--updates", min=1000, help="Updates; slow sides do a share of them.")
    ] = 500_000,
    rounds: RoundsOption = 5,
    peers: Annotated[bool, typer.Option("--peers", help=PEERS)] = False,
    json: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Apply updates from a filled queue, beside a bare loop and a transaction an update."""
    from bench import report
    from bench.updates import updates as benchmark

    report.publish(benchmark.run(rows, count, rounds, peers=peers), json, plot)


@commands.command()
def enqueue(
    *,
    rows: RowsOption = 1_000_000,
    count: Annotated[
        int, typer.Option("--updates", min=1000, help="Enqueues; slow sides do a share of them.")
    ] = 500_000,
    rounds: RoundsOption = 5,
    peers: Annotated[bool, typer.Option("--peers", help=PEERS)] = False,
    json: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Enqueue updates one by one, and all in one call, beside Celery's `apply_async`."""
    from bench import report
    from bench.updates import enqueue as benchmark

    report.publish(benchmark.run(rows, count, rounds, peers=peers), json, plot)


@commands.command()
def latency(
    *,
    rows: RowsOption = 1_000_000,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds at each rate.")] = 10,
    rounds: RoundsOption = 5,
    peers: Annotated[bool, typer.Option("--peers", help=PEERS)] = False,
    json: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Time updates from enqueue to commit at 50, 1,000 and 10,000 a second, beside Celery."""
    from bench import report
    from bench.updates import latency as benchmark

    report.publish(benchmark.run(rows, seconds, rounds, peers=peers), json, plot)


@commands.command()
def cache(
    *,
    rows: RowsOption = 1_000_000,
    values: Annotated[
        int, typer.Option(min=1000, help="Cached values, of which a tenth is dropped.")
    ] = 1_000_000,
    reads: Annotated[
        int, typer.Option(min=1000, help="Cached reads, and reads and updates of the mix.")
    ] = 50_000,
    rounds: RoundsOption = 5,
    json: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Read through the cache, drop many customers, count the queries that are spared."""
    from bench import report
    from bench.cache import cached_reads as benchmark

    report.publish(benchmark.run(rows, values, reads, rounds), json, plot)


@commands.command()
def gateway(
    *,
    rows: RowsOption = 1_000_000,
    count: Annotated[int, typer.Option("--updates", min=1000, help="Updates a batch.")] = 200_000,
    reads: Annotated[int, typer.Option(min=1000, help="Cached reads.")] = 50_000,
    rounds: RoundsOption = 5,
    json: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Enqueue by HTTP, read one customer, look up 1,000, beside the plain ways."""
    from bench import report
    from bench.gateway import gateway as benchmark

    report.publish(benchmark.run(rows, count, reads, rounds), json, plot)


@commands.command()
def drains(
    rows: RowsOption = 1_000_000,
    count: Annotated[int, typer.Option("--updates", min=1000, help="Updates.")] = 200_000,
    rounds: RoundsOption = 5,
    json: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Apply updates by 1, 2 and 4 drains: how far do more of them help?"""
    from bench import report
    from bench.updates import drains as benchmark

    report.publish(benchmark.run(rows, count, rounds), json, plot)


@commands.command()
def reports(
    rows: Annotated[
        list[int] | None, typer.Option(min=1000, help="Orders; may be repeated.")
    ] = None,
    changes: Annotated[int, typer.Option(min=1, help="Orders that change.")] = 10_000,
    rounds: RoundsOption = 5,
    json: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Refresh the reports, beside GROUP BY and materialized views; read one, beside its query."""
    from bench import report
    from bench.reports import reports as benchmark

    sizes = rows or [1_000_000]
    if changes > min(sizes):
        raise InvalidInput(f"--changes {changes}: there are {min(sizes):,} orders")
    report.publish(benchmark.run(sizes, changes, rounds), json, plot)


@commands.command()
def changelog(
    rows: RowsOption = 1_000_000,
    count: Annotated[int, typer.Option("--updates", min=1000, help="Updates.")] = 200_000,
    rounds: RoundsOption = 5,
    json: JsonFile = None,
    plot: PlotFile = None,
) -> None:
    """Import and drain with the change log's triggers and without; fold beside a drain."""
    from bench import report
    from bench.reports import changelog as benchmark

    report.publish(benchmark.run(rows, count, rounds), json, plot)
