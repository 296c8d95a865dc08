"""The work of the commands: loads the libraries that the commands need, so that `--help` does not."""
