"""Benchmarks of updates: enqueueing, draining, and the latency from enqueue to commit."""
