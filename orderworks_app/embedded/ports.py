"""Free ports on the loopback interface: usual ones, or random ones that later runs use again."""

import secrets
import socket

from orderworks.core.errors import ConfigurationError
from orderworks_app.embedded.home import Home, load_values, save_values

LOOPBACK = "127.0.0.1"
PORTS_FILE = "ports.json"

# Below the ranges that Linux (32768) and macOS (49152) use for outgoing connections: a port from
# there could be taken between this check and the server's bind, or at a restart.
LOWEST, HIGHEST = 20_000, 32_000
TRIES = 200


def port_of(home: Home, name: str, usual: int = 0) -> int:
    """A free port for the service `name`: the usual one, else the one it had before, else a random one.

    `usual` is the port at which users expect it; with 0, only the others count.

    Raises:
        ConfigurationError: none is free.
    """
    if usual and is_free(usual):
        return usual
    stored = load_values(home, PORTS_FILE)
    port = int(stored.get(name, 0))
    if not (port and is_free(port)):
        port = _find({int(used) for used in stored.values()})
        save_values(home, PORTS_FILE, {**stored, name: str(port)})
    return port


def is_free(port: int) -> bool:
    """Return whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _find(used: set[int]) -> int:
    for _ in range(TRIES):
        port = LOWEST + secrets.randbelow(HIGHEST - LOWEST)
        if port not in used and is_free(port):
            return port
    raise ConfigurationError(f"no free port found on {LOOPBACK} between {LOWEST} and {HIGHEST}")
