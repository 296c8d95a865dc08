"""PostgreSQL of docker-compose.yml: the image's set-up of the cluster, then the file's command."""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from orderworks_app.embedded.binaries import postgresql_binaries
from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.embedded.unix_user import system_user
from tests.support.compose_processes import Composition, free_ports
from tests.support.processes import ROOT, eventually


@pytest.fixture
def postgresql_compose() -> Iterator[Composition]:
    """The service in a folder that its account can reach: it refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="orderworks-test-"))
    folder.chmod(0o711)
    account = system_user() if os.geteuid() == 0 else None
    yield Composition(folder, free_ports("postgres"), account)
    shutil.rmtree(folder)


@pytest.fixture
def data(postgresql_compose: Composition) -> Path:
    """An empty cluster, made with the arguments that the file gives to the image."""
    own = postgresql_compose.folder / "postgres"
    data, password = own / "cluster", own / "password"
    postgresql_compose.command("postgres")
    data.mkdir()
    password.write_text(postgresql_compose.secret("postgres_password"), encoding="utf-8")
    account = postgresql_compose.account
    for path in (*own.iterdir(), own):
        os.chown(path, account.uid if account else -1, account.gid if account else -1)
    initdb = [str(postgresql_binaries(account) / "initdb"), "--no-sync", "--username=postgres"]
    initdb += [f"--pgdata={data}", f"--pwfile={password}"]
    initdb += shlex.split(postgresql_compose.environment("postgres")["POSTGRES_INITDB_ARGS"])
    popen = account.popen_arguments() if account else {}
    subprocess.run(initdb, check=True, capture_output=True, cwd=data, env={}, **popen)
    return data


def test_postgresql_creates_app_database_and_turns_unhealthy_when_frozen(
    postgresql_compose: Composition, data: Path
) -> None:
    with postgresql_compose.running("postgres", "-D", str(data)) as server:
        eventually(lambda: postgresql_compose.is_healthy("postgres"), 30, every=0.2)
        create_database(postgresql_compose)
        assert connection_facts(postgresql_compose) == ("orderworks", False, "256MB", "C.UTF-8")
        server.send_signal(signal.SIGSTOP)
        assert not postgresql_compose.is_healthy("postgres")
        server.send_signal(signal.SIGCONT)
        eventually(lambda: postgresql_compose.is_healthy("postgres"), 10, every=0.2)
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == 0


def create_database(postgresql_compose: Composition) -> None:
    """Run the script as the image does, but by TCP with the superuser's password."""
    binaries = postgresql_binaries(None)
    subprocess.run(
        [ROOT / "deploy/create-database.sh"],
        check=True,
        env={
            "PATH": f"{binaries}:{os.defpath}",
            "PGHOST": LOOPBACK,
            "PGPORT": str(postgresql_compose.ports["postgres"]),
            "PGPASSWORD": postgresql_compose.secret("postgres_password"),
            "DATABASE_PASSWORD_FILE": postgresql_compose.environment("postgres")[
                "DATABASE_PASSWORD_FILE"
            ],
        },
    )


def connection_facts(postgresql_compose: Composition) -> tuple[object, ...]:
    """User, superuser flag, shared_buffers and locale of a connection with the workers' address."""
    connection = psycopg2.connect(postgresql_compose.secret("database_url"))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_user, rolsuper, current_setting('shared_buffers'), datlocale "
            "FROM pg_roles, pg_database WHERE rolname = current_user AND datname = 'orderworks'"
        )
        row = cursor.fetchone()
    connection.close()
    assert row
    return row
