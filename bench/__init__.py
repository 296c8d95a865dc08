"""Benchmarks: Orderworks and plain or other ways of doing the same, on the same servers, in one run.

`orderworks bench` runs them. They are part of a clone only, not of the installed package.
"""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The clone's folder, in which `python -m bench.…` finds the programs of the benchmarks."""
