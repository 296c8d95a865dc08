"""The types of what several tests are given by fixtures."""

from collections.abc import Callable, Sequence
from decimal import Decimal

from orderworks.imports.progress import Summary
from orderworks.updates.drain import DrainResult
from orderworks.updates.messages import OrderUpdate

OrderRows = dict[int, tuple[int, str, Decimal, int]]
"""Orders by id: customer, status, total, version."""

ReadRows = Callable[[], OrderRows]
"""Reads the whole orders table."""

WriteRows = Callable[[OrderRows], None]
"""Writes orders, and the customers that they name."""

AcceptUpdates = Callable[[Sequence[OrderUpdate]], list[str]]
"""Appends updates as a producer does; their entry ids."""

DrainAll = Callable[..., list[DrainResult]]
"""Drains every shard until it is empty, with other settings if some are given."""

DrainOutbox = Callable[[], DrainResult]
"""Drains the outbox until it is empty."""

AcceptFile = Callable[..., str]
"""Accepts a file as a producer does, with any options of an import; its id."""

LoadFile = Callable[..., Summary]
"""Accepts a file and loads all of it; its summary."""
