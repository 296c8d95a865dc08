"""Programs that some tests need and `make test` does not promise: a browser, RabbitMQ, Prometheus."""

import os

import pytest


def missing(what: str, variable: str) -> BaseException:
    """Return what to raise: it skips the test, or fails it if the variable is `needed`.

    `make test` promises to need Python and make only. So on a machine without the program the tests of
    it are skipped, and pytest's summary lists them with this sentence. `.ci/run` installs all three
    programs and sets the variables to `needed`: there, none of these tests can be skipped.
    """
    is_needed = os.environ.get(variable) == "needed"
    outcome = pytest.fail.Exception if is_needed else pytest.skip.Exception
    return outcome(f"not installed: {what}")
