"""Addresses that only this machine can reach."""

from functools import lru_cache
from ipaddress import ip_address


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
