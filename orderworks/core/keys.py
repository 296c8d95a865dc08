"""Every Redis key. No other module spells one."""

from collections.abc import Iterable

CUSTOMER_CACHES = "orders:cache:"
UPDATE_STREAMS = "orders:updates"


def update_stream(shard: int) -> str:
    """The stream of accepted updates of a shard. The braces put it into one slot with the keys below."""
    return f"{UPDATE_STREAMS}:{{{shard}}}"


def update_nudge(shard: int) -> str:
    """Set while a message to drain this shard is queued or a drain is running."""
    return f"orders:nudge:{{{shard}}}"


def update_layout(shard: int) -> str:
    """The number of shards over which updates are spread; appends to this shard check it."""
    return f"orders:layout:{{{shard}}}"


def update_verdict(shard: int, entry_id: str) -> str:
    """The outcome of a tracked update, until it expires."""
    return f"orders:verdict:{{{shard}}}:{entry_id}"


def customer_cache(customer_id: int) -> str:
    """The hash of a customer's cached reads, with the token that guards them."""
    return f"{CUSTOMER_CACHES}{customer_id}"


def customer_caches(customer_ids: Iterable[int]) -> list[str]:
    """The same for many customers: an import changes hundreds of thousands."""
    return [f"{CUSTOMER_CACHES}{customer_id}" for customer_id in customer_ids]


def refresh_nudge() -> str:
    """Set while a refresh is queued because orders were changed without the workers."""
    return "orders:refresh-nudge"


def invalidation_delays(path: str) -> str:
    """The latest delays between a change and the invalidation of cached reads, by its path."""
    return f"orders:invalidation-delays:{path}"


def shared_cache() -> str:
    """The hash of cached reads of no single customer; a change of any customer invalidates it."""
    return "orders:cache-shared"


def cache_lease(key: str, field: str) -> str:
    """Set while a process computes this field of this hash. The braces put both into one slot."""
    return f"orders:cache-lease:{{{key}}}:{field}"


def cache_counts() -> str:
    """The hash of the cache's counters, of all processes."""
    return "orders:cache-counts"


def top_customers_report(window: str) -> str:
    """The published top-customers report of one window."""
    return f"orders:report:top-customers:{window}"


def write_probe() -> str:
    """Written for a moment by `status` and `doctor`, to see whether the server accepts writes."""
    return "orders:write-probe"


def gateway_rate(token: str) -> str:
    """The requests that a token, given by name, may still make."""
    return f"orders:gateway-rate:{token}"


def gateway_response(token: str, key: str) -> str:
    """The response to a request of this token with an Idempotency-Key, by the key's hash."""
    return f"orders:gateway-answer:{token}:{key}"


def import_nudge(import_id: str) -> str:
    """Set while a message of the sweep to plan this import is queued."""
    return f"orders:import-nudge:{import_id}"


def import_plan(import_id: str) -> str:
    """The hash with the number of starts of a plan, and the error of the last one."""
    return f"orders:import-plan:{import_id}"


def import_uncounted_starts(import_id: str) -> str:
    """The hash of an import's chunks, with their starts that do not count as attempts.

    PostgreSQL was unavailable at the end of these.
    """
    return f"orders:import-forgiven:{import_id}"


def import_progress(import_id: str) -> str:
    """The copy of an import's ledger for producers, which cannot reach the database."""
    return f"orders:import:{import_id}"


def import_notes(import_id: str) -> str:
    """The hash of what workers noted of the rows of an import."""
    return f"orders:import-notes:{import_id}"


def import_kept_file(import_id: str) -> str:
    """The manifest of a dry run whose file is kept for an import."""
    return f"orders:import-tried:{import_id}"


def import_content(fingerprint: str) -> str:
    """The id of the first import of this content with these options."""
    return f"orders:import-content:{fingerprint}"
