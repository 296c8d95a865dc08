"""The command `orderworks`."""

import sys

OWN = ("celeryconfig", "migrations", "orderworks", "orderworks_app", "producer", "tasks", "worker")


def main() -> None:
    """Run the command that the arguments name, and exit with its status."""
    try:
        from orderworks_app.cli.app import run  # noqa: PLC0415 - reports a missing package
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in OWN:
            raise
        sys.exit(
            f"orderworks: the package {error.name} is missing: "
            "the command needs the extra `worker`: pip install 'orderworks[worker]'"
        )
    run()
