r"""Benchmarks of imports, beside `\copy` and the other ways of loading the same orders."""
