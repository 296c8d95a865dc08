"""Free ports on the loopback interface, the same ones from run to run where that is possible."""

import secrets
import socket

from orderworks.core.errors import ConfigurationError
from orderworks_app.embedded.home import Home, load_values, save_values

LOOPBACK = "127.0.0.1"
PORTS_FILE = "ports.json"

# Below the ranges that Linux (32768) and macOS (49152) give to outgoing connections: a port from
# there could be gone between the moment it was found free and the server's bind, or at a restart.
LOWEST, HIGHEST = 20_000, 32_000
TRIES = 200


def port_of(home: Home, name: str) -> int:
    """A free port for the part `name`: the one it had before, unless someone else took it.

    Raises:
        ConfigurationError: none is free.
    """
    known = load_values(home, PORTS_FILE)
    port = int(known.get(name, 0))
    if not (port and is_free(port)):
        port = _find({int(taken) for taken in known.values()})
        save_values(home, PORTS_FILE, {**known, name: str(port)})
    return port


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
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
