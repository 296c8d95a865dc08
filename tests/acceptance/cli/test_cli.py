"""The command line: output, errors and exit statuses."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrations import runner
from orderworks.core import keys
from orderworks.core.redis import Redis
from orderworks.updates.messages import UpdateOutcome, Verdict
from tests.support.commands import RunCommand
from tests.support.processes import eventually

COMMANDS = (
    *("demo", "up", "import", "imports", "rejects", "pause", "resume", "cancel", "retry"),
    *("update", "dead", "report", "beat", "status", "metrics", "env", "doctor", "rebuild"),
    *("reshard", "db", "gateway", "token"),
)


@pytest.fixture
def accepted_count(stream: Redis) -> Callable[[], int]:
    """The number of Redis keys of accepted updates and imports."""
    return lambda: sum(1 for _ in stream.scan_iter("orders:*"))


def test_orderworks_runs_as_command_and_as_module() -> None:
    installed = str(Path(sys.executable).parent / "orderworks")
    for command in ([installed], [sys.executable, "-m", "orderworks_app"]):
        done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
        assert "Background jobs for an orders database" in done.stdout


def test_help_lists_every_command_with_a_sentence(run: RunCommand) -> None:
    shown = run("--help").out
    for command in COMMANDS:
        assert f" {command} " in shown
        assert run(command, "--help").status == 0


BAD_FILES = {
    "missing": (None, "there is no such file"),
    "empty": (b"", "empty"),
    "not UTF-8": (b"id,customer_id,total\xff\n1,1,1\n", "UTF-8"),
    "a column is missing": (b"id,customer_id\n1,1\n", "total"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_unimportable_file_prints_one_line_and_exits_2(
    run: RunCommand, tmp_path: Path, accepted_count: Callable[[], int], case: str
) -> None:
    content, expected = BAD_FILES[case]
    if content is not None:
        (tmp_path / "orders.csv").write_bytes(content)
    done = run("import", "orders.csv")
    assert done.status == 2
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert "orders.csv" in done.err
    assert expected in done.err
    assert accepted_count() == 0
    assert not [*tmp_path.glob("home/spool/**/*.*")]


def test_folder_is_rejected_as_file(run: RunCommand, tmp_path: Path) -> None:
    done = run("import", str(tmp_path))
    assert done.status == 2
    assert "is a folder" in done.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("update", "1"), "give at least one of total, status and customer_id"),
        (("update", "1", "--total", "12x"), "total: '12x' is not a number"),
        (("update", "0", "--total", "1"), "order_id: is not between"),
        (("update",), "ORDER_ID"),
        (("update", "--file", "nowhere.jsonl"), "nowhere.jsonl"),
        (("update", "--file", "nowhere.jsonl", "--track"), "--track"),
        (("update", "1", "--total", "1", "--timeout", "3"), "--timeout"),
        (("import", "x.csv", "--map", "total"), "target=column"),
        (("imports", "nothing"), "no import has the id nothing"),
        (("rejects", "nothing"), "no import has the id nothing"),
        (("db", "upgrade", "9999"), "9999"),
        (("report", "top-customers", "--window", "2d"), "'2d' is not one of 'all'"),
        (("imports", "--limit", "x"), "'--limit': 'x' is not a whole number"),
        (("imports", "--limit", "0"), "'--limit': '0' is less than 1, the minimum"),
        (("update", "x", "--total", "1"), "'x' is not a whole number"),
        (("status", "--watch", "--json"), "either --watch or --json"),
    ],
)
def test_usage_error_names_the_problem_and_exits_2(
    run: RunCommand, arguments: tuple[str, ...], expected: str
) -> None:
    done = run(*arguments)
    assert done.status == 2
    assert expected in done.err
    for foreign in ("Traceback", "Input should", "Value error"):
        assert foreign not in done.err


def test_unavailable_server_is_named_without_its_password(run: RunCommand) -> None:
    redis = run("update", "1", "--total", "1", REDIS_URL="redis://:hunter2@127.0.0.1:1/0")
    assert (redis.status, "127.0.0.1:1." in redis.err) == (1, True)
    url = "postgresql://me:hunter2@127.0.0.1:1/orders"
    database = run("imports", DATABASE_URL=url)
    assert (database.status, "PostgreSQL at 127.0.0.1:1/orders" in database.err) == (1, True)
    for done in (redis, database):
        assert "hunter2" not in done.err
        assert len(done.err.splitlines()) == 1


def test_missing_addresses_error_names_variable_and_up_command(run: RunCommand) -> None:
    nothing = dict.fromkeys(
        ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "CACHE_REDIS_URL"), ""
    )
    done = run("imports", **nothing)
    assert done.status == 2
    assert "DATABASE_URL is not set" in done.err
    assert "orderworks up" in done.err
    assert run("env").status == 2
    gateway = run("gateway", **nothing)
    assert (gateway.status, gateway.err) == (2, done.err)


def test_missing_schema_error_names_the_upgrade_command(run: RunCommand) -> None:
    assert run("db", "downgrade", "base").status == 0
    done = run("imports")
    assert done.status == 1
    assert "orderworks db upgrade" in done.err
    assert runner.head() in run("db", "upgrade").out
    assert run("db", "check").status == 0
    assert run("db", "current").out == f"{runner.head()} (newest: {runner.head()})\n"


def test_empty_list_is_a_sentence_and_an_empty_document(run: RunCommand) -> None:
    assert run("imports").out == "No imports.\n"
    assert run("imports", "--status", "done").out == "No imports match the filters.\n"
    assert json.loads(run("imports", "--json").out) == []
    assert run("dead").out == "No dead updates.\n"
    assert run("dead", "--order", "1").out == "No dead updates match the filters.\n"
    assert json.loads(run("dead", "--json").out) == {"total": 0, "dead": []}
    assert run("token", "list").out.startswith("No tokens. ")


def test_json_output_is_a_single_document(run: RunCommand) -> None:
    assert json.loads(run("imports", "--json").out) == []
    assert json.loads(run("update", "5", "--total", "1", "--json").out)["accepted"] == 1
    report = json.loads(run("report", "top-customers", "--json").out)
    assert report["window"] == "all"
    assert report["rows"] == []
    status = json.loads(run("status", "--json").out)
    assert status["healthy"] is False
    reads = ("hit", "stale", "miss", "error", "refused", "hit_rate")
    assert status["cache"] == {**dict.fromkeys(reads, 0), "miss": 1}, "the report was computed"
    assert status["invalidation"] == {}


def test_customer_name_is_printed_without_markup(
    run: RunCommand, engine: sa.Engine, cache: Redis
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO customers (id, name) VALUES (1, '[/x] [red] Ltd')"))
        connection.execute(sa.text("INSERT INTO orders (id, customer_id, total) VALUES (1, 1, 1)"))
    cache.flushdb()  # No worker runs that would invalidate the reads of other tests.
    assert "[/x] [red] Ltd" in run("report", "top-customers").out


def test_html_report_goes_to_file_or_standard_output(run: RunCommand, tmp_path: Path) -> None:
    done = run("report", "top-customers", "--window", "30d", "--html", "page.html")
    assert (done.status, "page.html" in done.out) == (0, True)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "last 30 days" in page
    printed = run("report", "top-customers", "--window", "30d", "--html", "-").out
    assert printed.startswith("<!doctype html>")
    assert printed.endswith("</html>\n")


@pytest.mark.parametrize("arguments", [("--html", "no/such/folder/x"), ("--html", "-", "--json")])
def test_unwritable_html_report_is_a_usage_error(
    run: RunCommand, arguments: tuple[str, ...]
) -> None:
    done = run("report", "top-customers", *arguments)
    assert (done.status, done.out) == (2, "")


def test_report_without_arguments_lists_top_customers_of_all_time(run: RunCommand) -> None:
    done = run("report")
    assert (done.status, "window all, as of" in done.out) == (0, True)


def test_a_password_with_slashes_is_not_shown(run: RunCommand) -> None:
    done = run("imports", DATABASE_URL="postgresql://u:12/S3cretTail@127.0.0.1:1/db")
    assert "S3cretTail" not in done.err
    assert "127.0.0.1:1/db" in done.err


def test_status_without_workers_exits_1_and_names_missing_services(run: RunCommand) -> None:
    done = run("status")
    assert done.status == 1
    for expected in ("queue updates", "no worker answers", "it has no entries"):
        assert expected in done.out


@pytest.mark.usefixtures("settings")
def test_watched_status_is_shown_again_until_ctrl_c() -> None:
    command = [sys.executable, "-m", "orderworks_app", "status", "--watch"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        try:
            assert watching.stdout
            ends = (line for line in watching.stdout if "Ctrl-C ends" in line)
            assert next(ends)
            assert next(ends)
            watching.send_signal(signal.SIGINT)
            _out, err = watching.communicate(timeout=30)
        finally:
            watching.kill()
    assert (watching.returncode, err) == (1, "")


def test_updates_are_read_from_json_lines(run: RunCommand, tmp_path: Path) -> None:
    file = tmp_path / "updates.jsonl"
    line = '{"order_id": 1, "total": "2"}\n'
    # A byte order mark, also where one file was written behind another.
    file.write_text(f'\ufeff{line}\n\ufeff{{"order_id": 2, "status": "paid"}}\n', encoding="utf-8")
    assert run("update", "--file", str(file)).out == "Accepted 2 updates.\n"
    file.write_text('{"order_id": 1, "total": "2"}\n{"order_id": 2, "totl": 1}\n')
    done = run("update", "--file", str(file))
    assert "line 2" in done.err
    assert "1 updates were accepted" in done.err


@pytest.mark.parametrize(
    ("outcome", "status", "expected"),
    [
        (UpdateOutcome(Verdict.APPLIED), 0, ": applied.\n"),
        (UpdateOutcome(Verdict.STALE), 0, ": stale.\n"),
        (UpdateOutcome(Verdict.DEAD, "[/x] no customer"), 1, ": dead ([/x] no customer).\n"),
    ],
)
def test_tracked_update_prints_verdict_and_exit_status_marks_dead_one(
    run: RunCommand, stream: Redis, outcome: UpdateOutcome, status: int, expected: str
) -> None:
    for form in ((), ("--json",)):
        stream.delete(keys.update_stream(0))
        with ThreadPoolExecutor(1) as thread:
            thread.submit(give_verdict, stream, outcome)
            done = run("update", "8", "--total", "1", "--track", "--timeout", "30", *form)
        assert done.status == status
        if form:
            printed = json.loads(done.out)
            assert (printed["verdict"], printed["reason"]) == (outcome.verdict, outcome.reason)
        else:
            assert done.out.endswith(expected)


def give_verdict(stream: Redis, outcome: UpdateOutcome) -> None:
    """Publish a verdict for the first update of shard 0, as a worker does."""
    waiting: Any = eventually(lambda: stream.xrange(keys.update_stream(0)), 20, "no update")
    entry = waiting[0][0].decode()
    stream.set(keys.update_verdict(0, entry), outcome.encode(), ex=60)


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    ("values", "waits"),
    [
        (("--total", "1"), "If there is no order 8, it waits 300 s"),
        (("--total", "1", "--customer", "7"), "waiting until a worker has applied it\n"),
    ],
)
def test_tracked_update_is_reported_as_accepted_at_once_and_after_ctrl_c(
    values: tuple[str, ...], waits: str
) -> None:
    command = [sys.executable, "-m", "orderworks_app", "update", "8", *values, "--track"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as tracking:
        try:
            assert tracking.stderr
            first = tracking.stderr.readline()
            tracking.send_signal(signal.SIGINT)
            out, err = tracking.communicate(timeout=30)
        finally:
            tracking.kill()
    assert "accepted as " in first
    assert waits in first
    assert (tracking.returncode, out) == (130, "")
    assert "stays accepted" in err
    assert "`orderworks dead --order 8`" in err


def test_missing_verdict_exits_1(run: RunCommand) -> None:
    done = run("update", "8", "--total", "1", "--track", "--timeout", "0.1")
    assert (done.status, done.out) == (1, "")
    assert "has no verdict after 0.1 s" in done.err


def test_durable_updates_are_accepted_from_the_command_line(
    run: RunCommand, tmp_path: Path
) -> None:
    assert run("update", "5", "--total", "1", "--durable").out.startswith("Accepted as ")
    (tmp_path / "updates.jsonl").write_text('{"order_id": 1, "total": "2"}\n')
    done = run("update", "--file", "updates.jsonl", "--durable")
    assert done.out == "Accepted 1 updates.\n"


def test_doctor_reports_stream_server_with_eviction_enabled(run: RunCommand, stream: Redis) -> None:
    assert run("doctor").status == 0
    stream.config_set("maxmemory-policy", "allkeys-lru")
    try:
        done = run("doctor")
    finally:
        stream.config_set("maxmemory-policy", "noeviction")
    assert done.status == 1
    assert "set maxmemory-policy noeviction" in done.out


def test_metrics_are_printed_when_a_server_is_unavailable(run: RunCommand) -> None:
    done = run("metrics")
    assert (done.status, done.err) == (0, "")
    assert '\norderworks_up{server="postgresql"} 1.0\n' in done.out
    assert "\n# TYPE orderworks_updates_total counter\n" in done.out
    # In a separate process: pytest captures the logs of this one.
    unavailable = subprocess.run(
        [sys.executable, "-m", "orderworks_app", "metrics"],
        env={**os.environ, "DATABASE_URL": "postgresql://me:hunter2@127.0.0.1:1/orders"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert '\norderworks_up{server="postgresql"} 0.0\n' in unavailable.stdout
    assert '\norderworks_up{server="stream"} 1.0\n' in unavailable.stdout
    assert "orderworks_parked_updates" not in unavailable.stdout
    assert len(unavailable.stderr.splitlines()) == 1
    assert unavailable.stderr.startswith("metrics_missing server=postgresql")
    assert "hunter2" not in unavailable.stderr
