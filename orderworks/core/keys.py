"""Every Redis key. No key is spelled elsewhere."""

from collections.abc import Iterable

CUSTOMER_CACHES = "orders:cache:"
UPDATE_STREAMS = "orders:updates"
BEAT_PREFIX = "orders:beat:"
"""What all keys of beat's schedule begin with."""


def update_stream(shard: int) -> str:
    """The stream of accepted updates of one shard. The braces keep it beside its nudge in a cluster."""
    return f"{UPDATE_STREAMS}:{{{shard}}}"


def update_nudge(shard: int) -> str:
    """Set while a message to drain this shard is on its way or a drain is at work."""
    return f"orders:nudge:{{{shard}}}"


def update_layout(shard: int) -> str:
    """Over how many shards the updates are spread, as those who append to this one have to think."""
    return f"orders:layout:{{{shard}}}"


def update_verdict(shard: int, entry_id: str) -> str:
    """What became of one tracked update, until it expires."""
    return f"orders:verdict:{{{shard}}}:{entry_id}"


def customer_cache(customer_id: int) -> str:
    """The hash of all cached reads of one customer, with the token that guards it."""
    return f"{CUSTOMER_CACHES}{customer_id}"


def customer_caches(customer_ids: Iterable[int]) -> list[str]:
    """The same of many: an import touches them by the hundred thousand."""
    return [f"{CUSTOMER_CACHES}{customer_id}" for customer_id in customer_ids]


def refresh_nudge() -> str:
    """Set while a message is on its way, because somebody changed orders past the workers."""
    return "orders:refresh-nudge"


def invalidation_delays(path: str) -> str:
    """The last delays after which cached reads were gone, by who made them go."""
    return f"orders:invalidation-delays:{path}"


def shared_cache() -> str:
    """The hash of cached reads that are of no one customer; any customer's change takes it along."""
    return "orders:cache-shared"


def cache_lease(key: str, field: str) -> str:
    """Set while a process computes this field of this hash. The braces keep both together."""
    return f"orders:cache-lease:{{{key}}}:{field}"


def cache_counts() -> str:
    """The hash of how cached reads of all processes went."""
    return "orders:cache-counts"


def top_customers_report(window: str) -> str:
    """The published top-customers report of one window."""
    return f"orders:report:top-customers:{window}"


def gateway_rate(token: str) -> str:
    """What is left of the requests that a token may make, by its name."""
    return f"orders:gateway-rate:{token}"


def gateway_response(token: str, key: str) -> str:
    """The answer to a request of this token that came with an Idempotency-Key, by the key's hash."""
    return f"orders:gateway-answer:{token}:{key}"


def import_nudge(import_id: str) -> str:
    """Set while a message of the sweep to plan this import is on its way."""
    return f"orders:import-nudge:{import_id}"


def import_plan(import_id: str) -> str:
    """The hash that counts the starts of a plan, with the error that the last one ended with."""
    return f"orders:import-plan:{import_id}"


def import_uncounted_starts(import_id: str) -> str:
    """The hash of an import's chunks with their starts that PostgreSQL's absence ended."""
    return f"orders:import-forgiven:{import_id}"


def import_progress(import_id: str) -> str:
    """The mirror of an import's ledger, for producers that cannot reach the database."""
    return f"orders:import:{import_id}"


def import_kept_file(import_id: str) -> str:
    """The manifest of a dry run whose file is kept, to be imported."""
    return f"orders:import-tried:{import_id}"


def import_content(fingerprint: str) -> str:
    """The id of the import that brought this content first, asked for in the same way."""
    return f"orders:import-content:{fingerprint}"
