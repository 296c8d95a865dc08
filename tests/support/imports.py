"""Files and functions that tests of imports share."""

from orderworks.imports import ledger
from orderworks.imports.importer import Importer
from orderworks.imports.progress import Summary

SEVEN = b"id,name\n" + b"".join(b"%d,Customer %d\n" % (each, each) for each in range(1, 8))
"""Seven customers: three chunks of an importer whose chunks have three lines."""


def summary_of(importer: Importer, import_id: str) -> Summary:
    """Read the summary of an import from the ledger."""
    with importer.engine.connect() as connection:
        return ledger.import_summary(connection, import_id)
