"""Imports beside a COPY of the same file into the same table, with the same triggers."""

from bench.shop import Shop, open_shop
from bench.sides import Result, Side, compare, stopwatch
from producer import Producer


def run(rows: int, rounds: int) -> list[Result]:
    """From the call of `import_file` until the import is done, validation and ledger included."""
    with open_shop(rows) as shop, Producer.from_settings() as producer:
        return compare(
            rounds,
            Side("COPY into the empty table", rows, lambda: _copy(shop)),
            Side("import into the empty table", rows, lambda: _import(shop, producer)),
            Side("import of the same again", rows, lambda: _import_again(shop, producer)),
        )


def _copy(shop: Shop) -> float:
    shop.empty()
    shop.copy_customers()
    with stopwatch() as taken:
        shop.copy_orders()
        return taken()


def _import(shop: Shop, producer: Producer) -> float:
    shop.empty()
    shop.copy_customers()
    return _timed(shop, producer, "applied")


def _import_again(shop: Shop, producer: Producer) -> float:
    return _timed(shop, producer, "unchanged")


def _timed(shop: Shop, producer: Producer, verdict: str) -> float:
    with stopwatch() as taken:
        summary = producer.import_file(shop.sample.orders_file).wait(timeout=600)
        seconds = taken()
    if summary[verdict] != len(shop.sample.orders):
        raise SystemExit(f"the import went wrong: {summary}")
    return seconds
