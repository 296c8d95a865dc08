"""What the benchmarks of updates run beside Orderworks: a file a peer, its worker and its sender.

Each runs in an environment of its own, made from `bench/contenders.py`, and imports the peer, the
drivers and the standard library; of this project only `orders.names`, which needs nothing else.
"""
