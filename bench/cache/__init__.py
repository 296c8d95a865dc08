"""Benchmarks of cached reads and their invalidation."""
