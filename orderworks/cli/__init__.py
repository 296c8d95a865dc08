"""The command `orderworks`."""

import sys


def main() -> None:
    """Run the command that the arguments name, and exit with its status."""
    try:
        from orderworks.cli.app import run  # noqa: PLC0415 - says what is missing, where it is
    except ImportError as error:
        sys.exit(
            f"orderworks: the package {error.name} is missing: "
            "the command needs the extra `worker`: pip install 'orderworks[worker]'"
        )
    run()
