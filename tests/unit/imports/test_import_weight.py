"""Libraries that an import of a module must not load."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("tasks.imports, tasks.upkeep, worker.resources, orderworks.imports.importer", "polars"),
        (
            "producer.imports.sources.open_source, orderworks.imports.spool, producer.imports.accept",
            "polars",
        ),
        (
            "producer.imports.sources.open_source, orderworks.imports.spool, producer.imports.accept",
            "sqlalchemy",
        ),
        ("orderworks_app.cli.app", "polars"),
    ],
)
def test_module_import_loads_no_heavy_library(modules: str, heavy: str) -> None:
    """Of polars: it starts threads, which a fork of the worker's parent would not take along.

    Of the command line: every command, and every service that is one, would load it.
    """
    program = f"import sys, {modules}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
