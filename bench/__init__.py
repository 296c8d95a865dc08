"""Benchmarks: Orderworks beside the plain ways of doing the same, on the same servers, in one run.

`orderworks bench` runs them. Only a clone has them: they are no part of the package.
"""
