"""The commands for imports, called as in a shell. No worker runs: the tests do what one would."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from orderworks.core import keys
from orderworks.core.redis import Redis
from orderworks.core.routing import Queue
from orderworks.core.schema import import_rejects, imports
from orderworks.core.settings import Settings
from orderworks.imports import chunk_attempt
from orderworks.imports.importer import Importer
from orderworks.imports.progress import dry_run_summary, publish_progress, read_progress
from orderworks.imports.spool import Spool
from tests.support.celery_inspection import messages
from tests.support.commands import RunCommand
from tests.support.processes import eventually

WOULD = {
    "insert": 2,
    "change": 1,
    "unchanged": 0,
    "stale": 0,
    "superseded": 0,
    "rejected": 1,
    "differences": [{"id": 7, "column": "total", "before": "1.00", "after": "[2.00]"}],
    "customers": 3,
    "reports": ["all", "30d"],
    "seconds": 4.2,
    "rejects": [{"line": 9, "column": "total", "code": "missing", "reason": "total is missing"}],
}


@pytest.fixture
def content(tmp_path: Path) -> str:
    """A file of seven customers, whose content no other test has."""
    rows = "".join(f"{key},{uuid4()}\n" for key in range(1, 8))
    (tmp_path / "customers.csv").write_text(f"id,name\n{rows}", encoding="utf-8")
    return "customers.csv"


@pytest.fixture
def accepted_import(run: RunCommand, content: str) -> str:
    """The id of an accepted import that is not planned."""
    done = run("import", content, "--kind", "customers", "--json")
    answer = json.loads(done.out)
    assert (done.status, answer["status"], answer["repeated"]) == (0, "accepted", False)
    return str(answer["id"])


@pytest.fixture
def planned_import(importer: Importer, accepted_import: str) -> str:
    """The id of a running import of three chunks."""
    assert importer.plan(accepted_import) == [0, 1, 2]
    return accepted_import


@contextmanager
def started(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A running command, with its output to be read."""
    command = [sys.executable, "-m", "orderworks_app", *arguments]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_import_is_paused_resumed_and_cancelled(
    run: RunCommand, planned_import: str, settings: Settings
) -> None:
    paused = run("pause", planned_import)
    assert (paused.status, f"Import {planned_import} of customers.csv: paused" in paused.out) == (
        0,
        True,
    )
    nudged = messages(settings, Queue.IMPORTS)
    assert json.loads(run("resume", planned_import, "--json").out)["status"] == "running"
    assert messages(settings, Queue.IMPORTS) == nudged + 1
    cancelled = json.loads(run("cancel", planned_import, "--json").out)
    assert (cancelled["id"], cancelled["status"]) == (planned_import, "cancelled")


def test_retry_restarts_quarantined_chunks(
    run: RunCommand, planned_import: str, engine: sa.Engine, settings: Settings
) -> None:
    with engine.begin() as connection:
        chunk_attempt.quarantine_chunk(connection, planned_import, 1, "the disk was full")
    shown = run("imports", planned_import).out
    assert "the disk was full" in shown
    assert f"1 of 3 chunks are quarantined; `orderworks retry {planned_import}`" in shown
    nudged = messages(settings, Queue.IMPORTS)
    assert json.loads(run("retry", planned_import, "--json").out)["quarantined"] == 0
    assert messages(settings, Queue.IMPORTS) == nudged + 1


def test_command_not_allowed_in_import_state_prints_one_line_and_exits_1(
    run: RunCommand, planned_import: str
) -> None:
    for command, possible in (
        ("resume", "only a paused one can be resumed"),
        ("retry", "only chunks that were given up can be tried again"),
    ):
        done = run(command, planned_import)
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith(f"orderworks: import {planned_import} is running; {possible}")


@pytest.mark.parametrize("command", ["pause", "resume", "cancel", "retry", "rejects"])
def test_command_on_unplanned_import_says_to_try_again(
    run: RunCommand, accepted_import: str, command: str
) -> None:
    done = run(command, accepted_import)
    assert done.status == 1
    assert (
        f"import {accepted_import} is accepted and not planned yet; try again in a moment"
        in done.err
    )
    unknown = run(command, "nothing")
    assert (unknown.status, "no import has the id nothing" in unknown.err) == (2, True)


def test_same_content_returns_the_first_import(
    run: RunCommand, accepted_import: str, content: str
) -> None:
    done = run("import", content, "--kind", "customers")
    assert done.out == (
        f"This content was imported before, as {accepted_import}; --again imports it again.\n"
    )
    answer = json.loads(run("import", content, "--kind", "customers", "--json").out)
    names = ("id", "kind", "source", "status", "rows", "repeated")
    assert [answer[name] for name in names] == [
        accepted_import,
        "customers",
        content,
        "accepted",
        None,
        True,
    ]
    answer = json.loads(run("import", content, "--kind", "customers", "--again", "--json").out)
    assert (answer["repeated"], answer["id"] == accepted_import) == (False, False)
    assert (answer["kind"], answer["rows"], answer["bytes"] > 0) == ("customers", None, True)


def test_list_says_when_it_is_truncated(run: RunCommand, engine: sa.Engine) -> None:
    text = dict.fromkeys(("source", "delimiter", "sha256"), "x")
    common = {**text, "kind": "orders", "mapping": {}, "header": [], "bytes": 1, "version": 1}
    rows = [
        {
            **common,
            "id": f"listed-{number}",
            "rows": 0,
            "status": "done",
            "accepted_at": sa.func.now(),
        }
        for number in range(51)
    ]
    with engine.begin() as connection:
        for row in rows:
            connection.execute(sa.insert(imports).values(row))
    done = run("imports", "--json")
    assert (len(json.loads(done.out)), done.err) == (
        50,
        "orderworks: showing only the newest 50 imports; see --limit\n",
    )
    limited = run("imports", "--json", "--limit", "1000")
    assert (len(json.loads(limited.out)) > 50, limited.err) == (True, "")


def test_imports_are_listed_by_status_and_kind(run: RunCommand, planned_import: str) -> None:
    def listed(*filters: str) -> list[str]:
        summaries = json.loads(run("imports", "--json", *filters).out)
        return [summary["id"] for summary in summaries]

    assert planned_import in listed("--status", "running", "--limit", "1000")
    assert planned_import in listed("--status", "running", "--kind", "customers", "--limit", "1000")
    assert planned_import not in listed("--status", "running", "--kind", "orders")
    assert planned_import not in listed("--status", "cancelled")


@pytest.mark.parametrize("option", [("--status", "done"), ("--kind", "orders"), ("--limit", "1")])
def test_filters_with_an_import_id_are_a_usage_error(
    run: RunCommand, option: tuple[str, str]
) -> None:
    done = run("imports", "some-id", *option)
    assert (done.status, done.out) == (2, "")
    assert "either an id or filters" in done.err


def test_unknown_status_error_lists_the_statuses(run: RunCommand) -> None:
    done = run("imports", "--status", "ended")
    assert done.status == 2
    for status in ("running", "paused", "done", "failed", "cancelled"):
        assert status in done.err


def test_follow_without_import_id_is_a_usage_error(run: RunCommand) -> None:
    done = run("imports", "--follow")
    assert (done.status, done.out) == (2, "")
    assert done.err == "orderworks: --follow needs the id of an import\n"


def test_parent_missing_in_redis_is_read_from_ledger(
    run: RunCommand, importer: Importer, stream: Redis, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text(f"id,mail\nx,{uuid4()}\n", encoding="utf-8")
    command = ("import", "bad.csv", "--kind", "customers", "--map", "name=mail", "--json")
    parent = json.loads(run(*command).out)["id"]
    importer.plan(parent)
    stream.delete(keys.import_progress(parent))
    (tmp_path / "good.csv").write_text("id,mail,line\n1,Ada,2\n", encoding="utf-8")
    done = run("import", "good.csv", "--parent", parent, "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["mapping"] == {"id": "id", "name": "mail", "line": "line"}


def test_reading_from_terminal_prints_a_notice(run: RunCommand, folder: Path) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "orderworks_app", "import", "-", "--kind", "customers"]
    try:
        with subprocess.Popen(
            command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            os.write(ours, f"id,name\n1,{uuid4()}\n\x04".encode())
            _out, err = process.communicate(timeout=30)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (process.returncode, err) == (
        0,
        "orderworks: reading the file from standard input; end it with Ctrl-D\n",
    )


def test_file_is_read_from_standard_input(
    run: RunCommand, settings: Settings, folder: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "orderworks_app",
        "import",
        "-",
        "--kind",
        "customers",
        "--json",
    ]
    text = f"id,name\n1,{uuid4()}\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    manifest = Spool(settings.spool).manifest(json.loads(done.stdout)["id"])
    assert manifest
    assert manifest.bytes == len(text)


def test_missing_standard_input_is_a_usage_error(run: RunCommand) -> None:
    command = f"exec {sys.executable} -m orderworks_app import - <&-"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "orderworks: standard input is closed\n"


def test_preset_supplies_options_that_are_not_given(
    run: RunCommand, content: str, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "presets.toml").write_text("[crm]\nkind = 'customers'\nstrict = true\n")
    done = run("import", content, "--preset", "crm", "--json", IMPORT_PRESETS="presets.toml")
    manifest = Spool(settings.spool).manifest(json.loads(done.out)["id"])
    assert manifest
    assert (manifest.kind, manifest.strict) == ("customers", True)
    done = run("import", content, "--preset", "erp", IMPORT_PRESETS="presets.toml")
    assert done.status == 2
    assert "presets.toml: has no preset 'erp'; its presets: crm" in done.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--strict", "--max-rejects", "1"), "strict and max_rejects"),
        (("--max-rejects", "-1"), "max_rejects: -1"),
        (("--kind", "customers", "--create-customers"), "create_customers"),
        (("--parent", "x", "--map", "name=name", "--kind", "customers", "--dry-run"), "parent and"),
        (("--kind", "customers", "--parent", "x"), "no import has the id x"),
        (("--kind", "customers", "--parent", "x", "--map", "name=name"), "has no column 'line'"),
    ],
)
def test_contradictory_options_print_one_line_and_exit_2(
    run: RunCommand, content: str, options: tuple[str, ...], expected: str
) -> None:
    done = run("import", content, *options)
    assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert expected in done.err


def test_rejects_are_written_as_a_correctable_sheet(
    run: RunCommand, planned_import: str, engine: sa.Engine
) -> None:
    rejected = {
        "import_id": planned_import,
        "column": "name",
        "code": "missing",
        "reason": "a reason",
    }
    rows = [
        {"line": 2, "raw": "1,=A", "mended_by": None},
        {"line": 3, "raw": "2,", "mended_by": "another"},
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(import_rejects), [{**rejected, **row} for row in rows])
    (sheet,) = csv.DictReader(io.StringIO(run("rejects", planned_import).out))
    assert sheet == {
        "id": "1",
        "name": "'=A",
        "line": "2",
        "column": "name",
        "code": "missing",
        "reason": "a reason",
        "raw": "",
    }
    assert len(run("rejects", planned_import, "--all").out.splitlines()) == 3
    line = run("rejects", planned_import, "--format", "jsonl").out
    assert json.loads(line)["raw"] == "1,=A"
    assert len(json.loads(run("rejects", planned_import, "--all", "--json").out)) == 2


def test_running_import_shows_progress_and_what_it_waits_for(
    run: RunCommand, planned_import: str, stream: Redis
) -> None:
    done = run("imports", planned_import)
    assert "So far 0 of 7 rows, 0.0 of 0.3 kB, 0 of 3 chunks." in done.out
    assert "It waits" not in done.out
    stream.xadd(keys.update_stream(0), {"update": b""}, id="1-1")
    assert "It waits until the pending order updates are applied." in (
        run("imports", planned_import).out
    )
    assert json.loads(run("imports", planned_import, "--json").out)["waits_for_updates"]
    stream.delete(keys.update_stream(0))


def test_follow_ends_when_the_import_ends(
    run: RunCommand, planned_import: str, folder: Path
) -> None:
    with started(
        "imports", planned_import, "--follow", "--json", folder=folder.parent
    ) as following:
        assert run("cancel", planned_import).status == 0
        out, _err = following.communicate(timeout=30)
    assert (following.returncode, json.loads(out)["status"]) == (1, "cancelled")
    assert run("imports", planned_import, "--json").status == 0


def test_ctrl_c_while_following_names_how_to_go_on(
    planned_import: str, engine: sa.Engine, folder: Path
) -> None:
    sessions = sa.text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = :name"
    )

    def reads_the_ledger() -> bool:
        with engine.connect() as connection:
            name = f"orderworks-cli:{following.pid}"
            return bool(connection.scalar(sessions, {"name": name}))

    with started("imports", planned_import, "--follow", folder=folder.parent) as following:
        eventually(reads_the_ledger, 30)
        following.send_signal(signal.SIGINT)
        _out, err = following.communicate(timeout=30)
    assert following.returncode == 130
    assert f"import {planned_import} continues" in err
    assert f"`orderworks imports {planned_import} --follow`" in err
    assert f"`orderworks cancel {planned_import}`" in err


@pytest.fixture
def end_dry_run(stream: Redis) -> Callable[[], str]:
    """End the dry run that a command waits for, as a worker does; its id."""

    def waiting() -> dict[str, object] | None:
        for key in stream.scan_iter(keys.import_progress("2*")):
            summary = read_progress(stream, key.decode().rpartition(":")[2])
            if summary and summary["dry_run"] and summary["status"] == "accepted":
                return summary
        return None

    def end() -> str:
        summary = eventually(waiting, 20)
        assert summary
        ended = {"status": "done", "steps": 1, "rows": 4, "would": WOULD}
        publish_progress(stream, {**summary, **ended})
        return str(summary["id"])

    return end


def test_dry_run_waits_and_prints_predicted_result(
    run: RunCommand, content: str, end_dry_run: Callable[[], str], tmp_path: Path
) -> None:
    command = ("import", content, "--kind", "customers", "--dry-run")
    with started(*command, folder=tmp_path) as waiting:
        import_id = end_dry_run()
        out, _err = waiting.communicate(timeout=30)
    assert waiting.returncode == 0
    for expected in (
        "Dry run of customers.csv, nothing was changed.",
        "4 rows: 2 insert, 1 change, 1 rejected.",
        "Customers whose cached reads would be invalidated: 3.",
        "Reports that would change: all, 30d.",
        "about 4 s",
        "[2.00]",
        "total is missing",
    ):
        assert expected in out
    done = run("pause", import_id)
    assert (done.status, "is a dry run" in done.err) == (1, True)


def test_strict_dry_run_with_rejects_exits_1(
    content: str, end_dry_run: Callable[[], str], tmp_path: Path
) -> None:
    command = ("import", content, "--kind", "customers", "--dry-run", "--strict")
    with started(*command, folder=tmp_path) as waiting:
        end_dry_run()
        out, _err = waiting.communicate(timeout=30)
    assert waiting.returncode == 1
    assert "Nothing would be imported: the import is strict." in out


@pytest.mark.parametrize(("limit", "status"), [("0", 1), ("1", 0)])
def test_dry_run_reports_that_import_would_exceed_max_rejects(
    content: str, end_dry_run: Callable[[], str], tmp_path: Path, limit: str, status: int
) -> None:
    command = ("import", content, "--kind", "customers", "--dry-run", "--max-rejects", limit)
    with started(*command, folder=tmp_path) as waiting:
        end_dry_run()
        out, _err = waiting.communicate(timeout=30)
    assert waiting.returncode == status
    expected = "The import would stop: more than 0 rows would be rejected."
    assert (expected in out) == bool(status)


@pytest.mark.parametrize("shown", [(), ("--json",)])
def test_failed_dry_run_prints_reason_and_exits_1(
    content: str, importer: Importer, tmp_path: Path, shown: tuple[str, ...]
) -> None:
    command = ("import", content, "--kind", "customers", "--dry-run", *shown)
    before = set(importer.spool.list_waiting())
    with started(*command, folder=tmp_path) as waiting:
        (import_id,) = eventually(lambda: set(importer.spool.list_waiting()) - before, 20)
        manifest = importer.spool.manifest(import_id)
        assert manifest
        publish_progress(importer.stream, dry_run_summary(manifest, None, "the file is odd"))
        out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, err) == (1, "")
    assert "the file is odd" in out
    if shown:
        assert "would" not in json.loads(out)


def test_following_an_import_that_is_not_done_exits_1(
    run: RunCommand, content: str, importer: Importer, tmp_path: Path
) -> None:
    command = ("import", content, "--kind", "customers", "--follow", "--json")
    before = set(importer.spool.list_waiting())
    with started(*command, folder=tmp_path) as following:
        (import_id,) = eventually(lambda: set(importer.spool.list_waiting()) - before, 20)
        importer.plan(import_id)
        assert run("cancel", import_id).status == 0
        out, _err = following.communicate(timeout=30)
    assert (following.returncode, json.loads(out)["status"]) == (1, "cancelled")
