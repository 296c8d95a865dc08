"""Customers that orders reference and the table lacks: rejects their orders, or creates them."""

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.schema import customers
from orderworks.imports.columns import CUSTOMER_NAME
from orderworks.imports.loading.copy import as_array, copy_rows
from orderworks.imports.loading.upsert import staging_table
from orderworks.imports.loading.validate import quoted, reject


def reject_missing_customers(
    connection: sa.Connection, rows: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows whose customer exists, and the rejects of the others."""
    missing = pl.Series(connection.scalars(_missing(rows)).all(), dtype=pl.Int64)
    if missing.is_empty():
        return rows, reject(rows.clear(), "", "", pl.lit(""))
    is_missing = pl.col("customer_id").is_in(missing.implode())
    reason = quoted("customer_id", pl.col("customer_id").cast(pl.String), "is not a customer's id")
    rejects = reject(rows.filter(is_missing), "customer_id", "unknown_customer", reason)
    return rows.filter(~is_missing), rejects


def create_missing_customers(connection: sa.Connection, rows: pl.DataFrame) -> None:
    """Create the missing customers, in the order of their ids, so that no two imports deadlock.

    The name is that in the first row with one, else `Customer` and the id. Their version is 0, so that
    any later write is newer.
    """
    missing = pl.Series(connection.scalars(_missing(rows)).all(), dtype=pl.Int64)
    if missing.is_empty():
        return
    staging = staging_table(customers, ["id", "name"])
    staging.create(connection, checkfirst=False)
    copy_rows(connection, staging, _named(rows, missing))
    in_order = sa.select(staging).order_by(staging.c.id)
    create = insert(customers).from_select(["id", "name"], in_order).on_conflict_do_nothing()
    connection.execute(create)
    staging.drop(connection, checkfirst=False)


def _named(rows: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """`id` and `name` of new customers."""
    id_ = pl.col("customer_id")
    unnamed = pl.format("Customer {}", id_)
    name = pl.col(CUSTOMER_NAME).drop_nulls().first() if CUSTOMER_NAME in rows.columns else None
    named = rows.filter(id_.is_in(ids.implode())).sort("line").group_by("customer_id")
    names = named.agg(name=pl.lit(None, pl.String) if name is None else name)
    return names.select(id_.alias("id"), pl.coalesce("name", unnamed).alias("name"))


def _missing(rows: pl.DataFrame) -> sa.Select[int]:
    """The ids of customers that the rows reference and the table lacks."""
    referenced = (
        sa.func.unnest(as_array(rows["customer_id"].unique().sort()))
        .table_valued(sa.column("id", sa.BigInteger), name="referenced")
        .render_derived()
    )
    return sa.select(referenced.c.id).where(~sa.exists().where(customers.c.id == referenced.c.id))
