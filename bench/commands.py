"""The commands of `orderworks bench`, as one table. A benchmark is loaded when its command runs."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from orderworks.core.errors import ConfigurationError, InvalidInput
from orderworks_app.cli.stack import signals_as_interrupt

PICTURES = (".svg", ".png")

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Compare imports, updates and cached reads with plain ways of doing the same (from a clone).",
)


@commands.callback()
def bench() -> None:
    """Compare imports, updates and cached reads with plain ways of doing the same.

    Each benchmark starts servers and workers of its own and removes them with their data.
    """
    signals_as_interrupt()


def writable_file(file: Path | None) -> Path | None:
    """Return the file, or None without one; called before anything is measured.

    Raises:
        InvalidInput: it cannot be written.
    """
    if file:
        try:
            # Appending: the result of an earlier run stays until there is a new one.
            file.open("ab").close()
        except OSError as error:
            raise InvalidInput(f"{file}: cannot be written: {error.strerror}") from None
    return file


def picture_file(file: Path | None) -> Path | None:
    """Return the file for a plot, or None without one.

    Raises:
        InvalidInput: it cannot be written, or its name does not end as a picture's.
        ConfigurationError: matplotlib is not installed.
    """
    if file and file.suffix not in PICTURES:
        raise InvalidInput(f"{file}: name it {' or '.join(f'*{each}' for each in PICTURES)}")
    if file and find_spec("matplotlib") is None:
        raise ConfigurationError("--plot needs matplotlib: pip install 'orderworks[dev]'")
    return writable_file(file)


def _option(name: str, kind: object, default: object, *flags: str, **settings: Any) -> Parameter:  # noqa: ANN401 - Typer's
    """Return an option as a parameter: of a command, and by the same name of a benchmark's `run`."""
    annotation = Annotated[kind, typer.Option(*flags, **settings)]  # type: ignore[valid-type]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


ROWS = _option("rows", int, 1_000_000, min=1000, help="Orders.")
SIZES = _option(
    "sizes", list[int] | None, None, "--rows", min=1000, help="Orders; may be repeated."
)
ROUNDS = _option("rounds", int, 5, min=1, help="Rounds; the median is reported.")
READS = _option("reads", int, 50_000, min=1000, help="Cached reads.")
PEERS = _option(
    "peers", bool, False, "--peers", help="Also other job systems, installed in your cache folder."
)
JSON = _option(
    "json",
    Path | None,
    None,
    "--json",
    metavar="FILE",
    help="Write all figures to this file.",
    callback=writable_file,
)
PLOT = _option(
    "plot",
    Path | None,
    None,
    "--plot",
    metavar="FILE",
    help="Draw the rates to this SVG or PNG.",
    callback=picture_file,
)


def _updates(default: int, text: str) -> Parameter:
    return _option("count", int, default, "--updates", min=1000, help=text)


class Benchmark(NamedTuple):
    """A command: its benchmark's module and function, its help, and its options."""

    name: str
    run: str
    help: str
    options: tuple[Parameter, ...]


BENCHMARKS = (
    Benchmark(
        "imports",
        "imports.imports:run",
        r"Compare imports with `\copy`: new rows, changed rows, the same rows again, bad rows.",
        (ROWS, ROUNDS, JSON),
    ),
    Benchmark(
        "imports-baselines",
        "imports.imports:run_baselines",
        r"Compare other ways of loading a file with `\copy` and an import.",
        (ROWS, ROUNDS, JSON),
    ),
    Benchmark(
        "imports-growth",
        "imports.table_growth:run",
        "Import file after file of new orders: is the rate the same while the table grows?",
        (ROWS, _option("steps", int, 10, min=1, help="Files, one after another."), JSON),
    ),
    Benchmark(
        "imports-memory",
        "imports.memory:run",
        "Import files of several sizes: is the memory of producer and workers the same for all?",
        (SIZES, JSON),
    ),
    Benchmark(
        "updates",
        "updates.updates:run",
        "Apply updates from a filled queue; compare a bare loop and a transaction per update.",
        (ROWS, _updates(500_000, "Updates; slow sides do a share."), ROUNDS, PEERS, JSON, PLOT),
    ),
    Benchmark(
        "enqueue",
        "updates.enqueue:run",
        "Enqueue updates one by one, and all in one call; compare Celery's `apply_async`.",
        (ROWS, _updates(500_000, "Enqueues; slow sides do a share."), ROUNDS, PEERS, JSON, PLOT),
    ),
    Benchmark(
        "latency",
        "updates.latency:run",
        "Time updates from enqueue to commit at 50, 1,000 and 10,000 a second; compare Celery.",
        (
            ROWS,
            _option("seconds", float, 10, min=0.1, help="Seconds at each rate."),
            *(ROUNDS, PEERS, JSON, PLOT),
        ),
    ),
    Benchmark(
        "cache",
        "cache.cached_reads:run",
        "Read through the cache, invalidate many customers, count the queries that are saved.",
        (
            ROWS,
            _option(
                "values",
                int,
                1_000_000,
                min=1000,
                help="Cached values, of which a tenth is invalidated.",
            ),
            _option(
                "reads",
                int,
                50_000,
                min=1000,
                help="Cached reads; also reads and updates of the mixed load.",
            ),
            *(ROUNDS, JSON, PLOT),
        ),
    ),
    Benchmark(
        "gateway",
        "gateway.gateway:run",
        "Enqueue by HTTP, read one customer, look up 1,000; compare the plain ways.",
        (ROWS, _updates(200_000, "Updates of a batch."), READS, ROUNDS, JSON, PLOT),
    ),
    Benchmark(
        "drains",
        "updates.drains:run",
        "Apply updates by 1, 2 and 4 drains: how much do more of them help?",
        (ROWS, _updates(200_000, "Updates."), ROUNDS, JSON, PLOT),
    ),
    Benchmark(
        "reports",
        "reports.reports:run",
        "Refresh the reports and read one; compare GROUP BY and materialized views.",
        (
            SIZES,
            _option("changes", int, 10_000, min=1, help="Orders that change."),
            *(ROUNDS, JSON, PLOT),
        ),
    ),
    Benchmark(
        "changelog",
        "reports.changelog:run",
        "Import and drain with the change log's triggers and without; fold during a drain.",
        (ROWS, _updates(200_000, "Updates."), ROUNDS, JSON, PLOT),
    ),
)


def _command(benchmark: Benchmark) -> Callable[..., None]:
    """Return the function of a command, with the signature from which Typer makes its options."""

    def command(json: Path | None, plot: Path | None = None, **options: object) -> None:
        module, _, function = benchmark.run.partition(":")
        figures = getattr(import_module(f"bench.{module}"), function)(**options)
        import_module("bench.report").publish(figures, json, plot)

    command.__signature__ = Signature(benchmark.options)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in benchmark.options}
    return command


for _benchmark in BENCHMARKS:
    commands.command(_benchmark.name, help=_benchmark.help)(_command(_benchmark))
