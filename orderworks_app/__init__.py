"""One command on a bare machine."""
