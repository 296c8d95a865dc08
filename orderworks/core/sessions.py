"""The parameters of database sessions: the time zone, and the timeouts that release locks soon.

A session has them from its start. A pooler such as PgBouncer refuses them there, or drops them, and
gives each transaction another session; so with `DB_POOLER=transaction` each transaction sets them.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from orderworks.core.settings import Settings

SELF_INVALIDATING = {"orderworks.invalidates": "on"}
"""Parameters of sessions whose process invalidates cached reads itself, right after its commits. The
change log has those of all other sessions invalidated."""


def session_parameters(settings: Settings) -> dict[str, str]:
    """Return the parameters of every session; times are in ms."""
    return {
        "timezone": "UTC",
        "statement_timeout": str(settings.db_statement_timeout * 1000),
        "lock_timeout": str(settings.db_lock_timeout * 1000),
        "idle_in_transaction_session_timeout": "60000",
        "client_connection_check_interval": "10000",
    }


def is_pooled(settings: Settings) -> bool:
    """Return whether a pooler of transactions is between this process and PostgreSQL."""
    return settings.db_pooler == "transaction"


def start_options(parameters: Mapping[str, str], before: str = "") -> dict[str, str]:
    """Return the argument of a connection that gives the session these parameters at its start.

    They follow, and so replace, the options in `before`, which are those of the address.
    """
    ours = (f"-c {name}={value}" for name, value in parameters.items())
    return {"options": " ".join([before, *ours]).strip()}


def set_in_each_transaction(engine: sa.Engine, parameters: Mapping[str, str]) -> None:
    """Have each transaction of the engine begin with these parameters, and end without them."""
    values = (sa.func.set_config(name, value, sa.true()) for name, value in parameters.items())
    assignment = sa.select(*values)

    def assign(connection: sa.Connection) -> None:
        connection.execute(assignment)

    sa.event.listen(engine, "begin", assign)


def parameters_lost(connection: sa.Connection, settings: Settings) -> list[str]:
    """Return the names of the parameters that this transaction has not."""
    expected = session_parameters(settings)
    found: dict[str, Any] = dict(iter(connection.execute(_PARAMETERS, {"names": [*expected]})))
    return sorted(name for name, value in expected.items() if found.get(name) != value)


_PARAMETERS = sa.text(
    "SELECT lower(name), setting FROM pg_settings WHERE lower(name) = ANY (:names)"
)
