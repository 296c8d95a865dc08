"""The command `orderworks`."""

import sys

OWN = ("celeryconfig", "migrations", "orderworks", "orderworks_app", "producer", "tasks", "worker")

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C ended, as shells give it."""


def main() -> None:
    """Run the command that the arguments name, and exit with its status."""
    try:
        from orderworks_app.cli.app import run  # Reports a missing package.
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in OWN:
            raise
        sys.exit(
            f"orderworks: the package {error.name} is missing: "
            "the command needs the extra `worker`: pip install 'orderworks[worker]'"
        )
    except KeyboardInterrupt:  # While it loads.
        sys.exit(INTERRUPTED)
    run()
