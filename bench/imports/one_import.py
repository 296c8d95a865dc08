"""`python -m bench.imports.one_import FILE` imports a file as a producer, and prints its peak memory.

A process of its own with the modules of an application: neither SQLAlchemy nor polars is loaded.
"""

import sys

from bench.imports.peaks import peak
from producer import Producer


def main(file: str) -> None:
    """Import the file, wait, and print the peak."""
    with Producer.from_settings() as producer:
        summary = producer.import_file(file, again=True).wait()
    if summary["status"] != "done":
        sys.exit(f"the import ended as {summary}")
    sys.stdout.write(str(peak()))


main(sys.argv[1])
