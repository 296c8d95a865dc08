"""Which addresses only this machine itself can reach."""

from functools import lru_cache
from ipaddress import ip_address


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Whether only this machine itself can reach the address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
