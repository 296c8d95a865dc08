"""A reader in a process of its own, as one of an app's many: `python -m tests.support.reader_process`.

It reads for every line of standard input: the customer's id. It answers with the summary as JSON.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from orderworks.reads import CustomerReads, CustomerSummary
from tests.support.processes import ROOT


class Reader:
    """The other end: asks the process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def ask(self, customer_id: int) -> None:
        """Send a request without waiting for the answer."""
        assert self._process.stdin
        self._process.stdin.write(f"{customer_id}\n".encode())
        self._process.stdin.flush()

    def answer(self) -> CustomerSummary:
        """Wait for the answer to a request."""
        assert self._process.stdout
        return msgspec.json.decode(self._process.stdout.readline(), type=CustomerSummary)

    def customer_summary(self, customer_id: int) -> CustomerSummary:
        """Send a request and wait for the answer."""
        self.ask(customer_id)
        return self.answer()


@contextmanager
def reading_process() -> Iterator[Reader]:
    """A process with cached reads of its own, addressed by this process's environment."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.reader_process"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield Reader(process)
        finally:
            process.kill()


def serve() -> None:
    """Answer requests from the standard input."""
    reads = CustomerReads.from_settings()
    for line in sys.stdin:
        found = reads.customer_summary(int(line))
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
