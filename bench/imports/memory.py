"""The peak memory of each process of an import, for files of several sizes."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil

from bench import ROOT
from bench.alternate import print_progress
from bench.figures import Figures, Peak
from bench.imports.peaks import peak
from bench.stack import BenchStack, open_stack
from orderworks.core.errors import OrderworksError

SIZES = (100_000, 1_000_000, 5_000_000)
"""Orders of the files, unless others are named."""

INTERVAL = 0.1
"""Seconds between two reads. The kernel keeps a peak until the process ends, so few are missed."""

Peaks = dict[int, int]
"""The peak of each process, in bytes."""


def run(sizes: Sequence[int] | None) -> Figures:
    """Measure the peaks of producer and workers, with new processes for every size."""
    peaks = [each for rows in sizes or SIZES for each in _peaks(rows)]
    return Figures("imports-memory", peaks, [])


def _peaks(rows: int) -> list[Peak]:
    with open_stack(rows) as stack:
        stack.without_orders()
        worker = _imports_worker()
        with _watched(worker) as children:
            print_progress(f"import of {rows:,} orders … ")
            producer = _import(stack)
            print_progress("done\n")
        peaks = {
            "producer": producer,
            "worker, main process": peak(worker.pid),
            **{
                f"worker, child {n}": size
                for n, size in enumerate(sorted(children.values(), reverse=True), 1)
            },
        }
        return [Peak(name, rows, size) for name, size in peaks.items()]


def _import(stack: BenchStack) -> int:
    """Import the orders in a process of its own; return its peak."""
    command = [sys.executable, "-m", "bench.imports.one_import", str(stack.sample.orders_file)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)  # noqa: S603 - a program of the benchmarks
    stack.expect_orders(len(stack.sample.orders))
    return int(done.stdout)


def _imports_worker() -> psutil.Process:
    """Return the main process of the worker for imports."""
    for process in psutil.Process().children():
        with suppress(psutil.Error):
            if "imports@%h" in process.cmdline():
                return process
    raise OrderworksError("no worker for imports runs")


@contextmanager
def _watched(worker: psutil.Process) -> Iterator[Peaks]:
    """Yield the peaks of the worker's children during the block, including those that ended."""
    peaks: Peaks = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(INTERVAL):
            _read_peaks(worker, peaks)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        ended.set()
        watcher.join()
        _read_peaks(worker, peaks)


def _read_peaks(worker: psutil.Process, peaks: Peaks) -> None:
    for child in worker.children():
        with suppress(OSError):
            peaks[child.pid] = max(peak(child.pid), peaks.get(child.pid, 0))
