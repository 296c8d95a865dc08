"""Databases of tests: cloned from a template with the newest schema, cleaned and used again."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrations import runner
from orderworks.core.database import database_address
from orderworks.core.redis import is_redis, make_redis
from orderworks.core.settings import Settings
from orderworks_app.embedded.stack import SERVERS, Stack, temporary_stack
from tests.support.postgresql import BINARIES, running_postgresql
from tests.support.processes import eventually

TEMPLATE = "template_orders"
EMPTY = "template1"

_TERMINATE_SESSIONS = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
)

# What a definition is made of, without what any use of a table changes. A clone has the OIDs of its
# template. Objects of initdb are below 16384; temporary ones end with their sessions.
_SCHEMA = r"""
    SELECT md5(string_agg(entry, E'\n' ORDER BY entry)) FROM (
      SELECT (to_jsonb(c) - '{relfilenode,relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,
        relminmxid}'::text[])::text AS entry FROM pg_class c WHERE oid >= 16384
      UNION ALL SELECT a::text FROM pg_attribute a WHERE attrelid >= 16384
      UNION ALL SELECT d::text FROM pg_attrdef d
      UNION ALL SELECT i::text FROM pg_index i WHERE indexrelid >= 16384
      UNION ALL SELECT c::text FROM pg_constraint c WHERE oid >= 16384
      UNION ALL SELECT t::text FROM pg_trigger t
      UNION ALL SELECT p::text FROM pg_policy p
      UNION ALL SELECT p::text FROM pg_proc p WHERE oid >= 16384
      UNION ALL SELECT t::text FROM pg_type t WHERE oid >= 16384
      UNION ALL SELECT r::text FROM pg_rewrite r WHERE oid >= 16384
      UNION ALL SELECT s::text FROM pg_sequence s
      UNION ALL SELECT x::text FROM pg_extension x
      UNION ALL SELECT t::text FROM pg_event_trigger t
      UNION ALL SELECT d::text FROM pg_default_acl d
      UNION ALL SELECT n::text FROM pg_namespace n WHERE nspname !~ '^pg_'
      UNION ALL SELECT s::text FROM pg_statistic_ext s
      UNION ALL SELECT format('analyzed %s', starelid) FROM pg_statistic WHERE starelid >= 16384
      UNION ALL SELECT s::text FROM pg_db_role_setting s JOIN here ON setdatabase = here.oid
      UNION ALL SELECT jsonb_build_array(datdba, datacl, datallowconn, datconnlimit)::text FROM here
    ) entries
"""

_STATE = sa.text(f"""
    WITH here AS (SELECT * FROM pg_database WHERE datname = current_database())
    SELECT
      ({_SCHEMA}),
      ARRAY(SELECT oid::regclass::text FROM pg_class
            WHERE relkind = 'r' AND oid >= 16384 AND pg_relation_size(oid) > 0)
""")

_RESTART_SEQUENCES = sa.text(
    "SELECT setval(seqrelid, seqstart, false) FROM pg_sequence WHERE seqrelid >= 16384"
)


class Databases:
    """The databases of one stack, each of them for one test at a time.

    To clone one takes 0.2 s of a core, to clean one a tenth of it: every table that was written is
    truncated, rows of migrations and sequences are restored. A test that changed the schema leaves
    a database that is dropped.

    Attributes:
        stack: the servers.
        admin: PostgreSQL's superuser, outside of transactions.
    """

    def __init__(self, stack: Stack, admin: sa.Engine) -> None:
        self.stack, self.admin = stack, admin
        # One for all databases: what its dialect asks a server at first is asked once.
        self._superuser = sa.create_engine(admin.url, poolclass=sa.NullPool)
        self._numbers = itertools.count(1)
        self._clean: list[str] = []
        self._make_template()

    def make(self, name: str, template: str = EMPTY) -> str:
        """Make a database that is not used again; its URL for the role that applications use."""
        url = self._url(name)
        self._run(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {url.username}")
        return url.render_as_string(hide_password=False)

    def drop(self, name: str) -> None:
        """Drop a database, and end its sessions."""
        self._run(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def lent(self) -> Iterator[str]:
        """A database with the newest schema and no rows; its URL.

        It has another name for every test: a process that a test left behind cannot connect again.
        """
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        if self._clean:
            self._rename(self._clean.pop(), name)
            url = self._url(name).render_as_string(hide_password=False)
        else:
            url = self.make(name, TEMPLATE)
        yield url
        self._end_sessions(name)
        if self._clean_up(name):
            self._clean.append(name)
        else:
            self.drop(name)

    @contextmanager
    def fresh_settings(self, home: Path, **environment: str) -> Iterator[Settings]:
        """Settings of a clean database, empty Valkeys and an empty spool, also in the environment."""
        with self.lent() as url, pytest.MonkeyPatch.context() as patch:
            addresses = {
                **self.stack.environment,
                "DATABASE_URL": url,
                "SPOOL_URL": "",  # the home's own
                "ORDERWORKS_HOME": str(home),
            }
            for variable, value in {**addresses, **environment}.items():
                patch.setenv(variable, value)
            settings = Settings.load()
            for server in filter(is_redis, (settings.broker, settings.stream, settings.cache)):
                with make_redis(server, timeout=5) as client:
                    client.flushdb()
            yield settings

    def _make_template(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DATABASE_URL", self.make(TEMPLATE))
            runner.upgrade()
        with self._connection(TEMPLATE) as connection:
            self._schema, filled = connection.execute(_STATE).one()
            self._rows = {table: _rows_of(connection, table) for table in filled}

    def _clean_up(self, name: str) -> bool:
        """Make a database that no session uses like the template; False if its schema differs."""
        with self._connection(name) as connection, connection.begin():
            schema, written = connection.execute(_STATE).one()
            if schema != self._schema:
                return False
            connection.execute(
                sa.text("SET LOCAL session_replication_role = replica")
            )  # no triggers
            tables = ", ".join(set(written) - self._rows.keys())
            if tables:
                connection.execute(sa.text(f"TRUNCATE {tables} CASCADE"))
            for table, rows in self._rows.items():
                if _rows_of(connection, table) != rows:
                    _put_rows(connection, table, rows)
            connection.execute(_RESTART_SEQUENCES)
        return True

    def _rename(self, name: str, new_name: str) -> None:
        self._end_sessions(name)
        self._run(f"ALTER DATABASE {name} RENAME TO {new_name}")

    def _end_sessions(self, name: str) -> None:
        """End all sessions of a database. PostgreSQL itself would wait for them in steps of 0.1 s."""

        def ended() -> bool:
            return not connection.execute(_TERMINATE_SESSIONS, {"name": name}).all()

        with self.admin.connect() as connection:
            eventually(ended, 10, f"sessions of {name} do not end", every=0.002)

    @contextmanager
    def _connection(self, name: str) -> Iterator[sa.Connection]:
        """A session of the superuser in one of the databases."""

        def choose(
            _dialect: object, _record: object, _args: object, options: dict[str, str]
        ) -> None:
            options["dbname"] = name

        sa.event.listen(self._superuser, "do_connect", choose)
        try:
            with self._superuser.connect() as connection:
                yield connection
        finally:
            sa.event.remove(self._superuser, "do_connect", choose)

    def _run(self, statement: str) -> None:
        with self.admin.connect() as connection:
            connection.execute(sa.text(statement))

    def _url(self, name: str) -> sa.URL:
        return sa.make_url(self.stack.environment["DATABASE_URL"]).set(database=name)


@contextmanager
def running_databases(*, durable: bool) -> Iterator[Databases]:
    """Databases on a stack of their own: PostgreSQL and both Valkeys.

    Args:
        durable: whether PostgreSQL waits for the disk, as it does for users. Where it does not, a
            killed server still loses nothing: only a machine that stops does.
    """
    binaries = os.environ.get(BINARIES)
    with databases_on(Path(binaries)) if binaries else _embedded_databases(durable) as made:
        yield made


@contextmanager
def databases_on(binaries: Path) -> Iterator[Databases]:
    """Databases on a PostgreSQL of these binaries, and on Valkeys of their own."""
    with running_postgresql(binaries) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", server.url)
        with temporary_stack(SERVERS) as stack:
            patch.undo()
            admin = _administrator(server.admin_url)
            yield Databases(replace(stack, admin_url=server.admin_url), admin)
            admin.dispose()


@contextmanager
def _embedded_databases(durable: bool) -> Iterator[Databases]:  # noqa: FBT001 - passed on
    with temporary_stack(SERVERS) as stack:
        assert stack.admin_url
        admin = _administrator(stack.admin_url)
        if not durable:
            _do_not_wait_for_the_disk(admin)
        yield Databases(stack, admin)
        admin.dispose()


def _administrator(url: str) -> sa.Engine:
    return sa.create_engine(database_address(url), isolation_level="AUTOCOMMIT")


def _do_not_wait_for_the_disk(admin: sa.Engine) -> None:
    with admin.connect() as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.execute(sa.text(f"ALTER SYSTEM SET {setting} = off"))
        connection.execute(sa.text("SELECT pg_reload_conf()"))


def _rows_of(connection: sa.Connection, table: str) -> str:
    """The rows of a table, as JSON."""
    rows = connection.scalar(
        sa.text(f"SELECT coalesce(jsonb_agg(t ORDER BY t), '[]')::text FROM {table} t")
    )
    return str(rows)


def _put_rows(connection: sa.Connection, table: str, rows: str) -> None:
    """Replace the rows of a table by those that `_rows_of` returned."""
    connection.execute(sa.text(f"DELETE FROM {table}"))
    connection.execute(
        sa.text(
            f"INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, :rows)"
        ),
        {"rows": rows},
    )
