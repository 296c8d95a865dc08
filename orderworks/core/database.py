"""Connections to PostgreSQL: how an engine is made, and which errors are transient."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlencode

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from orderworks.core.errors import ConfigurationError, Unavailable
from orderworks.core.sessions import (
    is_pooled,
    session_parameters,
    set_in_each_transaction,
    start_options,
)
from orderworks.core.settings import Settings

CONNECTIONS = 2
"""Connections that one thread of a worker may hold at the same time."""

POOLER_REFUSAL = "unsupported startup parameter"
"""Part of PgBouncer's error where a session is to start with parameters."""

POOLER_REMEDY = "a pooler is in front of PostgreSQL: set DB_POOLER=transaction"

READ_ONLY = "25006"
"""The SQLSTATE of a write in a read-only session. After a switchover a session that was opened before
it, or during it, may stay read-only, while new sessions may write."""

TRANSIENT_STATES = ("40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300", READ_ONLY)
"""SQLSTATEs after which a retry may succeed: serialization failure, deadlock, lock timeout, shutdowns,
too many connections, a read-only session."""

LOCK_TIMEOUT = "55P03"
"""The SQLSTATE of a lock timeout, and of a lock that is not available at once."""

OF_THE_SERVER = ("08", "25", "53", "57P", "58")
"""Beginnings of SQLSTATEs that are the state of the server or the session, with any data."""

OF_A_ROW = ("40", "55", "57014", "38", "39", "54", "XX")
"""Beginnings of SQLSTATEs that one row of a statement may cause: serialization failures and deadlocks,
locks, timeouts, errors of functions that triggers call, limits of the program, damaged data."""


def database_address(url: str) -> URL:
    """Return the SQLAlchemy address, by psycopg2, of a PostgreSQL URL in any spelling.

    Of several hosts (`host1:5432,host2`) the first one that accepts writes is used, unless the URL has
    other `target_session_attrs`.

    Raises:
        ConfigurationError: it is not the URL of a PostgreSQL database.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise ConfigurationError(
            "DATABASE_URL: give it as postgresql://user:password@host:port/database"
        )
    try:
        return make_url(f"postgresql+psycopg2://{_hosts_as_parameters(rest)}")
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigurationError(f"DATABASE_URL: cannot be read as a {scheme} URL") from None


def _hosts_as_parameters(rest: str) -> str:
    """Return the URL behind its scheme with several hosts as parameters, where SQLAlchemy reads them."""
    authority, slash, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    if "," not in hosts:
        return rest
    names, ports = zip(*(_split_port(host) for host in hosts.split(",")), strict=True)
    path, _, query = path.partition("?")
    given = dict(parse_qsl(query))
    several = {"target_session_attrs": "read-write", **given}
    several |= {"host": ",".join(names), "port": ",".join(ports)}
    return f"{login}{at}{slash or '/'}{path}?{urlencode(several)}"


def _split_port(host: str) -> tuple[str, str]:
    """Return the name or the address of a host, and its port; `[::1]:5432` is an address in brackets."""
    name, _, port = host.rpartition(":") if re.search(r":\d*$", host) else (host, "", "")
    return name.strip("[]"), port or "5432"


def shown_address(url: str) -> str:
    """Return the hosts and the database of a URL, without the login."""
    address = database_address(url)
    hosts, ports = _texts(address, "host"), _texts(address, "port")
    if "," in ports:
        pairs = zip(hosts.split(","), ports.split(","), strict=True)
        where = ",".join(f"{host}:{port}" for host, port in pairs)
    else:
        where = f"{address.host or hosts or 'localhost'}:{address.port or ports or 5432}"
    return f"{where}/{address.database or ''}"


def _texts(address: URL, parameter: str) -> str:
    """Return a parameter of the URL; several of one name as one text."""
    value = address.query.get(parameter, "")
    return value if isinstance(value, str) else ",".join(value)


def make_engine(
    settings: Settings, application_name: str, session: Mapping[str, str] | None = None
) -> sa.Engine:
    """Return a pooled engine. It opens connections on first use; make it after the fork.

    Sessions run in UTC, with the parameters in `session`. Statements, lock waits and idle transactions
    end after the configured times, so that the locks of a killed worker are soon released. A session
    that refuses a write as read-only is closed, and so are all others of the pool on their next use.
    """
    if settings.db_pool_size + settings.db_max_overflow < CONNECTIONS:
        raise ConfigurationError(
            f"DB_POOL_SIZE and DB_MAX_OVERFLOW: a process needs {CONNECTIONS} connections at times, "
            "to note why a chunk failed while it holds the chunk"
        )
    parameters = session_parameters(settings) | dict(session or {})
    address = database_address(settings.database)
    engine = sa.create_engine(
        address,
        pool_size=settings.db_pool_size,
        max_overflow=settings.db_max_overflow,
        pool_timeout=settings.db_pool_timeout,
        pool_recycle=settings.db_pool_recycle,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "application_name": f"{application_name}:{os.getpid()}",
            "connect_timeout": settings.db_connect_timeout,
            "client_encoding": "utf8",
            "keepalives_idle": 30,
            "tcp_user_timeout": 30_000,
            # Those of the URL first: they would be lost otherwise.
            **(
                {} if is_pooled(settings) else start_options(parameters, _texts(address, "options"))
            ),
        },
    )
    if is_pooled(settings):
        set_in_each_transaction(engine, parameters)
    sa.event.listen(engine, "handle_error", _discard_read_only_sessions)
    return engine


def _discard_read_only_sessions(context: sa.engine.ExceptionContext) -> None:
    """Have the pool replace all its sessions after the error of a read-only one.

    Its own test of a session does not write, so it would keep them.
    """
    if is_read_only(context.original_exception):
        context.is_disconnect = True


def is_read_only(error: BaseException) -> bool:
    """Return whether the driver's error is the refusal of a write in a read-only session."""
    return getattr(error, "pgcode", None) == READ_ONLY


def is_transient(error: BaseException) -> bool:
    """Return whether a retry can succeed: the server was unavailable, or other sessions held locks.

    A killed backend surfaces as any class of `DBAPIError`, so the connection's state and the SQLSTATE
    decide, not the class.
    """
    if isinstance(error, sa.exc.TimeoutError):
        return True
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    state = getattr(error.orig, "pgcode", None)
    if state is None:
        return isinstance(error, sa.exc.OperationalError) or error.connection_invalidated
    return error.connection_invalidated or state in TRANSIENT_STATES or state.startswith("08")


def is_data_error(error: sa.exc.DBAPIError) -> bool:
    """Return whether the database refused the data.

    It does so for a bad value, a constraint, a check of a view, a trigger that raises, or a row that is
    too large for its index.
    """
    state = getattr(error.orig, "pgcode", None) or ""
    return state.startswith(("22", "23", "44", "54000", "P0"))


def is_lock_timeout(error: BaseException) -> bool:
    """Return whether a statement waited too long for a lock."""
    orig = getattr(error, "orig", None)
    return isinstance(error, sa.exc.DBAPIError) and getattr(orig, "pgcode", None) == LOCK_TIMEOUT


def may_be_of_one_row(error: sa.exc.DBAPIError) -> bool:
    """Return whether one row may have caused the error, so that the statement succeeds without it.

    Such are refusals of the data, errors raised within a trigger, and the loss of the session: a row
    may have ended it.
    """
    state = getattr(error.orig, "pgcode", None) or ""
    if error.connection_invalidated or is_data_error(error):
        return True
    if state.startswith(OF_THE_SERVER):
        return False
    in_function = bool(getattr(getattr(error.orig, "diag", None), "context", None))
    return in_function or state.startswith(OF_A_ROW)


def error_summary(error: sa.exc.DBAPIError) -> str:
    """Return the first line of the error message of the database or the driver."""
    return str(error.orig).strip().splitlines()[0]


@contextmanager
def savepoint(connection: sa.Connection) -> Iterator[None]:
    """Undo the statements of the block if the database refuses one; the transaction continues.

    `begin_nested` would keep the savepoint that it rolled back to, so that each failure would nest all
    later statements one level deeper.
    """
    connection.execute(sa.text("SAVEPOINT attempt"))
    try:
        yield
    except sa.exc.DBAPIError as error:
        if not error.connection_invalidated:
            connection.execute(sa.text("ROLLBACK TO SAVEPOINT attempt"))
            connection.execute(sa.text("RELEASE SAVEPOINT attempt"))
        raise
    connection.execute(sa.text("RELEASE SAVEPOINT attempt"))


_PAUSES = wait_random_exponential(multiplier=0.1, max=5)
_ATTEMPTS = 9

retry_transient = retry(
    retry=retry_if_exception(is_transient),
    wait=_PAUSES,
    stop=stop_after_attempt(_ATTEMPTS),
    reraise=True,
)
"""Decorates a unit of work, transaction included: retries it after transient errors, for about 8 s in
all. If it still fails then, the sweep's next nudge repeats it."""

retry_unless_locked = retry(
    retry=retry_if_exception(lambda error: is_transient(error) and not is_lock_timeout(error)),
    wait=_PAUSES,
    stop=stop_after_attempt(_ATTEMPTS),
    reraise=True,
)
"""The same for work that continues with something else when it waited too long for a lock."""


def database_unavailable(error: sa.exc.DBAPIError, url: str) -> Unavailable:
    """Return the error to show when PostgreSQL cannot be reached. It never has the password."""
    reason = error_summary(error)
    remedy = f": {POOLER_REMEDY}" if POOLER_REFUSAL in reason else ""
    return Unavailable(f"PostgreSQL at {shown_address(url)} cannot be used: {reason}{remedy}")
