"""`python -m orderworks` is the command `orderworks`."""

from orderworks.cli import main

main()
