"""The files that the demo imports: TPC-H customers and orders, whose last order is dated today."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from orderworks.core.errors import ConfigurationError

ORDERS_A_SCALE = 1_500_000
"""Orders that TPC-H has at scale factor 1; customers are a tenth of them."""

STATUSES = {"O": "open", "F": "filled", "P": "partly filled"}


@dataclass(frozen=True)
class GeneratedFiles:
    """The generated files, and the orders in them as a frame of the import's columns."""

    customers_file: Path
    orders_file: Path
    customers: int
    orders: pl.DataFrame


def generate(folder: Path, count: int) -> GeneratedFiles:
    """Write `customers.csv` and `orders.csv` with `count` orders to the folder.

    Raises:
        ConfigurationError: the generator is not installed.
    """
    _run_generator(folder, count)
    customers = pl.read_parquet(folder / "customer.parquet")
    orders = _orders(pl.read_parquet(folder / "orders.parquet").head(count))
    sample = GeneratedFiles(folder / "customers.csv", folder / "orders.csv", len(customers), orders)
    customers.select(
        id="c_custkey", name="c_name", phone="c_phone", email=_email(pl.col("c_custkey"))
    ).write_csv(sample.customers_file)
    orders.write_csv(sample.orders_file)
    return sample


def _run_generator(folder: Path, count: int) -> None:
    generator = shutil.which("tpchgen-cli", path=str(Path(sys.executable).parent))
    if generator is None:
        raise ConfigurationError(
            "the generator of the demo's data is not installed: pip install 'orderworks[embedded]'"
        )
    # A little more than requested: the generator rounds.
    scale = f"{max(count, 1000) * 1.001 / ORDERS_A_SCALE:.6f}"
    tables = ("--tables", "orders,customer", "--output-dir", str(folder), "--overwrite")
    subprocess.run(  # noqa: S603 - a fixed program and arguments
        [generator, "parquet", "--scale-factor", scale, *tables], check=True, capture_output=True
    )


def _orders(table: pl.DataFrame) -> pl.DataFrame:
    age = table["o_orderdate"].max() - pl.col("o_orderdate")
    today = datetime.now(UTC).date()
    return table.select(
        id="o_orderkey",
        customer_id="o_custkey",
        total=pl.col("o_totalprice").cast(pl.Decimal(14, 2)),
        status=pl.col("o_orderstatus").cast(pl.String).replace_strict(STATUSES),
        created_at=pl.lit(today) - age,
    )


def _email(key: pl.Expr) -> pl.Expr:
    return pl.format("customer{}@shop.example", key)
