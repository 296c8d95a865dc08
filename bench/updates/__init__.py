"""Benchmarks of updates: enqueued, drained, and from enqueue to commit."""
