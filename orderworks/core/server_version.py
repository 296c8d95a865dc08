"""The versions of PostgreSQL that are supported."""

import sqlalchemy as sa

from orderworks.core.errors import ConfigurationError

OLDEST = 15
"""The oldest major version. Tests run all flows on it, on the newest, and on no other."""


def server_version(connection: sa.Connection) -> str:
    """Return the server's version, such as 18.1, without the packager's additions."""
    return str(connection.scalar(sa.text("SHOW server_version"))).split()[0]


def is_supported(connection: sa.Connection) -> bool:
    """Return whether the server is not too old."""
    number = connection.scalar(sa.text("SHOW server_version_num"))
    return int(number or 0) >= OLDEST * 10_000


def require_supported_version(connection: sa.Connection) -> None:
    """Check the version of the server.

    Raises:
        ConfigurationError: it is too old.
    """
    if not is_supported(connection):
        raise ConfigurationError(
            f"PostgreSQL {server_version(connection)} is too old: Orderworks needs version {OLDEST} "
            "or newer"
        )
