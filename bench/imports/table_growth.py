"""Imports while the table grows: the rate of each of several imports of new orders."""

from functools import partial

from bench.alternate import Side, compare, print_progress
from bench.figures import Figures
from bench.imports import order_files
from bench.imports.imports import ImportBench, timed_import
from bench.stack import open_stack
from producer import Producer


def run(rows: int, steps: int) -> Figures:
    """Measure one import of `rows` new orders after another, with ascending ids.

    Each step is measured once; so a first one, which does not count, makes workers load their modules.
    """
    with open_stack(rows * steps) as stack, Producer.from_settings() as producer:
        step = partial(_step, ImportBench(stack, producer), rows)
        stack.without_orders()
        print_progress(f"warming up … {step(0):.2f} s\n")
        stack.without_orders()
        sides = [
            Side(f"import onto {before:,} orders", rows, partial(step, before))
            for before in range(0, rows * steps, rows)
        ]
        return Figures("imports-growth", compare(1, *sides), [])


def _step(bench: ImportBench, rows: int, before: int) -> float:
    file = order_files.part(bench.stack, before, rows)
    # In production refreshes empty the log all the time; it never has millions of rows.
    bench.stack.empty_change_log()
    bench.stack.vacuum_and_checkpoint("orders")
    seconds = timed_import(bench, file, applied=rows)
    bench.stack.expect_orders(before + rows)
    return seconds
