"""Ids that a chunk has on several lines with other values, where only the last line counts."""

import polars as pl

from orderworks.imports.columns import PARENT_LINE_COLUMN
from orderworks.imports.file_notes import RepeatedIds


def find_repeated(rows: pl.DataFrame, version: int) -> RepeatedIds | None:
    """The repeated ids among the valid rows that have no version of their own; None without any.

    `version` is that of the import. In most files ids increase: then one comparison shows that none is
    repeated.
    """
    if (rows["id"].diff() > 0).all():
        return None
    lines = rows.filter(
        pl.col("id").is_duplicated() & (pl.col("version") - pl.col("line") == version)
    )
    data = [name for name in lines.columns if name not in ("line", "version", PARENT_LINE_COLUMN)]
    differing = lines.unique(data, keep="first", maintain_order=True)
    again = differing.filter(pl.col("id").is_duplicated()).sort("line")
    if again.is_empty():
        return None
    first_id = again["id"][0]
    first, second = again.filter(pl.col("id") == first_id)["line"][:2]
    return RepeatedIds(again["id"].n_unique(), first_id, (first, second))
