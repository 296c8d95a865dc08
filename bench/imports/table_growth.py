"""Imports while the table grows: whether the ten millionth row costs what the first one did."""

from functools import partial

from bench.alternate import Side, compare, tell
from bench.figures import Figures
from bench.imports import order_files
from bench.imports.imports import ImportBench, timed_import
from bench.shop import open_shop
from producer import Producer


def run(rows: int, steps: int) -> Figures:
    """Import after import of `rows` new orders, with rising ids.

    Each step is measured once, so a first one, which does not count, makes workers load what they need.
    """
    with open_shop(rows * steps) as shop, Producer.from_settings() as producer:
        step = partial(_step, ImportBench(shop, producer), rows)
        shop.without_orders()
        tell(f"warming up … {step(0):.2f} s\n")
        shop.without_orders()
        sides = [
            Side(f"import onto {before:,} orders", rows, partial(step, before))
            for before in range(0, rows * steps, rows)
        ]
        return Figures("imports-growth", compare(1, *sides), [])


def _step(bench: ImportBench, rows: int, before: int) -> float:
    file = order_files.part(bench.shop, before, rows)
    # In operation the reports are refreshed all the time; the log never holds millions of rows.
    bench.shop.empty_change_log()
    bench.shop.vacuum_and_checkpoint("orders")
    seconds = timed_import(bench, file, applied=rows)
    bench.shop.expect_orders(before + rows)
    return seconds
