r"""Benchmarks of imports, compared with `\copy` and other ways of loading the same orders."""
