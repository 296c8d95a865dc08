"""The job systems that the benchmarks of updates compare with Orderworks: one file per peer.

A file has the peer's task, its workers' settings and its sender. It runs in an environment made for the
peer's packages (`registry.py`), and imports these, drivers and the standard library; of this project
only `orderworks.core.keys`, which needs nothing else. The bare loop, Orderworks' own senders and plain
Celery run in the project's environment.
"""
