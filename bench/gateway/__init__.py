"""Benchmarks of the gateway: batches, cached reads, lookups."""
