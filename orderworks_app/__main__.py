"""`python -m orderworks_app` is the command `orderworks`."""

from orderworks_app.cli import main

main()
