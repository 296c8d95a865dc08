"""The embedded stack without a server: passwords, logs, plans, names and paths."""

import json
import os
import socket
import stat
import subprocess
from pathlib import Path

import psutil
import pytest

from orderworks.core.errors import ConfigurationError
from orderworks.core.routing import Queue
from orderworks_app.embedded import binaries, logs, unix_user
from orderworks_app.embedded.home import AlreadyRunning, Home, home_lock, open_home, write_private
from orderworks_app.embedded.logs import LogFile, rotate_if_large
from orderworks_app.embedded.own_services import WORKERS
from orderworks_app.embedded.passwords import passwords_of
from orderworks_app.embedded.plan import make_plan
from orderworks_app.embedded.ports import LOOPBACK, is_free, port_of
from orderworks_app.embedded.process import Identity
from orderworks_app.embedded.state import recorded_processes, running_environment


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "a home")


def test_passwords_are_generated_once_and_kept_private(home: Home) -> None:
    first = passwords_of(home)
    assert passwords_of(home) == first
    assert stat.S_IMODE((home.folder / "passwords.json").stat().st_mode) == 0o600
    assert len({first.postgresql, first.postgresql_admin, first.valkey, first.cache}) == 4
    assert first.postgresql not in repr(first)


def test_a_damaged_password_file_is_named(home: Home) -> None:
    (home.folder / "passwords.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"passwords\.json cannot be read, or is damaged"):
        passwords_of(home)


def test_port_is_reused_unless_occupied(home: Home) -> None:
    port = port_of(home, "valkey")
    assert port_of(home, "valkey") == port
    assert port_of(home, "cache") != port
    with socket.create_server((LOOPBACK, port)):
        assert not is_free(port)
        assert port_of(home, "valkey") != port


def test_usual_port_is_taken_where_it_is_free(home: Home) -> None:
    before, usual = port_of(home, "gateway"), port_of(home, "any")
    assert port_of(home, "gateway", usual) == usual
    with socket.create_server((LOOPBACK, usual)):
        assert port_of(home, "gateway", usual) == before


@pytest.mark.parametrize("value", ["tcp://10.0.0.1:5555", "65536", "-1", "\u0665"])
def test_port_of_flower_that_is_no_port_is_refused(
    home: Home, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("FLOWER_PORT", value)
    location = unix_user.DataLocation(home.folder, None)
    with pytest.raises(ConfigurationError, match="FLOWER_PORT: .* is not a port from 0 to 65535"):
        make_plan(home, location, passwords_of(home))


def test_home_is_locked_by_one_process_at_a_time(home: Home) -> None:
    with home_lock(home), pytest.raises(AlreadyRunning, match="pid "), home_lock(home):
        pass
    with home_lock(home):
        pass


def test_private_file_is_replaced_atomically(home: Home) -> None:
    path = home.folder / "file"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in home.folder.iterdir() if file.is_file()] == ["file"]


def test_log_over_the_limit_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 10)
    path = tmp_path / "service.log"
    path.write_text("short")
    rotate_if_large(path)
    assert path.read_text() == "short"
    with path.open("a") as held:
        held.write(" and now long")
        held.flush()
        rotate_if_large(path)
        held.write("second text")
    assert path.read_text() == "second text"
    assert (tmp_path / "service.log.1").read_text() == "short and now long"


def test_log_is_read_from_the_current_start(tmp_path: Path) -> None:
    path = tmp_path / "service.log"
    path.write_text("ready, last time\n")
    log = LogFile(path)
    with log.open() as output:
        output.write(b"one\n\ntwo\n")
    assert log.since_start() == "one\n\ntwo\n"
    assert log.last_lines() == "    one\n    two"


def test_recorded_process_is_identified_by_start_time_and_command() -> None:

    started = psutil.Process().create_time()
    assert Identity(os.getpid(), started, "py").process()
    assert not Identity(os.getpid(), started - 60, "py").process()
    assert not Identity(os.getpid(), started, "valkey-server").process()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"parts": {"valkey": {}}}', '{"parts": 1}'])
def test_a_damaged_state_file_names_no_process_and_no_address(home: Home, text: str) -> None:
    home.state_file.write_text(text)
    assert recorded_processes(home) == []
    assert running_environment(home.folder) is None


def test_a_state_file_whose_supervisor_is_dead_gives_no_addresses(home: Home) -> None:
    dead = {"pid": 1, "create_time": 1.0}
    home.state_file.write_text(json.dumps({"environment": {"A": "b"}, "supervisor": dead}))
    assert running_environment(home.folder) is None


def test_the_workers_together_consume_every_queue_once() -> None:
    assert sorted(queue for queues in WORKERS.values() for queue in queues) == sorted(Queue)


def test_copied_binaries_find_their_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_user, "SYSTEM_DATA_FOLDER", tmp_path / "outside")
    original = binaries.postgresql_binaries(None)
    copy = binaries.reachable_copy(original)
    assert copy.is_relative_to(tmp_path)
    assert binaries.reachable_copy(original) == copy
    printed = subprocess.run([copy / "initdb", "--version"], capture_output=True, check=True)
    assert printed.stdout.startswith(b"initdb (PostgreSQL) 18")
    public = [path for path in copy.parents[2].rglob("*") if not path.is_symlink()]
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in public)
