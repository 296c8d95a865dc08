"""What the benchmarks of updates run beside Orderworks: a file a peer, its worker and its sender.

A peer runs in an environment of its own, made from `bench/peers/registry.py`, and imports itself, its
drivers and the standard library; of this project only `orderworks.core.keys`, which needs nothing
else. The bare loop, Orderworks' own senders and plain Celery run in the project's environment.
"""
