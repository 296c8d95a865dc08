"""Benchmarks: Orderworks beside the plain way of doing the same, on the same servers, in one run."""
