"""Flower's users and passwords in production, which its command line must not show.

`FLOWER_BASIC_AUTH_FILE` names a file with `user:password`, one pair a line. Flower runs this file
before it listens; without a pair it would accept every user, so it does not start.
"""  # noqa: INP001 - Flower runs it by path

import os
import sys
from pathlib import Path

basic_auth = Path(os.environ["FLOWER_BASIC_AUTH_FILE"]).read_text(encoding="utf-8").split()
if not basic_auth or not all(pair.partition(":")[2] for pair in basic_auth):
    sys.exit("FLOWER_BASIC_AUTH_FILE: give user:password, one pair a line")
