"""Malicious files and messages: a clear error or rejects, and the same worker continues."""

import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery

from orderworks.core.database import make_engine
from orderworks.core.routing import QUEUE_OF, TaskName
from orderworks.core.schema import customers
from orderworks.core.settings import Settings
from producer import Producer
from tests.support.commands import Done, RunCommand
from tests.support.processes import CeleryProcess, eventually, pool_children

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST_OF_COMMAND, MOST_OF_CHILD = 200 << 10, 400 << 10
"""KiB that a process may ever have held, for any input: 135 and 200 MB were measured. A command
that held as much as it is given here would be over it."""

MEGABYTES = 100
"""Of a field, and of what a bomb unpacks to."""

# The command, which notes at its end how much memory it ever held.
MEASURED = (
    "import sys; from pathlib import Path; from orderworks_app.cli.app import run\n"
    "peak = Path(sys.argv.pop())\n"
    "try: run()\n"
    "finally: peak.write_text(Path('/proc/self/status').read_text())\n"
)

HEADER = b"id,name\n"
ROW = b"1,Ada\n"
LINES = ROW * ((1 << 20) // len(ROW))

Totals = dict[str, str]
TOTALS: Totals = {
    "1e131071": "bad_number",
    "NaN": "not_finite",
    "Infinity": "not_finite",
    "-inf": "not_finite",
    "9" * 200_000: "out_of_range",
    "0x10": "bad_number",
    "1_000": "bad_number",
    "٣": "bad_number",
    "1\0": "nul_byte",
}
"""Cells that are no total, and what they are refused for."""

JSON_TOTALS: Totals = {
    '"NaN"': "not_finite",
    "NaN": "bad_json",
    "Infinity": "bad_json",
    "1e131071": "bad_number",
    "9" * 200_000: "bad_json",
    "9" * 300_000 + ".5": "out_of_range",
    r'"\ud800"': "bad_json",
    r'"\udc00\ud800"': "bad_json",
    r'"1\u0000"': "nul_byte",
    "[" * 100_000: "bad_json",
    '{"a":' * 100_000: "bad_json",
    "[1]": "wrong_type",
}

HOSTILE_IDS = (
    "../../x",
    "../planted",
    "..",
    "/etc/passwd",
    "x/../../planted",
    "x\0y",
    "x\n",
    "\ud800",
    "",
    "x" * 100_000,
    "$(id)",
    5,
    None,
    True,
    ["x"],
    {"id": "x"},
)

KIND = ("--kind", "customers")

Document = dict[str, Any]
ImportFile = Callable[..., Document]


@pytest.fixture(scope="module", autouse=True)
def _customer(settings: Settings) -> None:
    engine = make_engine(settings, "orderworks-test")
    with engine.begin() as connection:
        connection.execute(sa.insert(customers), {"id": 1, "name": "Ada"})
    engine.dispose()


@pytest.fixture(scope="module")
def children(worker: CeleryProcess) -> list[int]:
    """The processes that the module begins with."""
    return sorted(pool_children(worker))


@pytest.fixture(autouse=True)
def _the_same_worker_goes_on(worker: CeleryProcess, children: list[int]) -> Iterator[None]:
    """After each test: no process of the worker was lost or is bloated, and a good file is imported."""
    yield
    with Producer.from_settings() as producer:
        done = producer.import_file(HEADER + ROW, kind="customers", again=True).wait(timeout=20)
    assert (done["status"], done["rows"]) == ("done", 1)
    assert sorted(pool_children(worker)) == children
    assert max(peak_of(Path(f"/proc/{each}/status")) for each in children) < MOST_OF_CHILD


@pytest.fixture
def import_and_follow(run: RunCommand, tmp_path: Path) -> ImportFile:
    """Import a file and wait for its end; what became of it."""

    def bring_file(name: str, content: bytes, *options: str) -> Document:
        (tmp_path / name).write_bytes(content)
        done = run("import", name, "--follow", "--json", *options)
        summary: Document = json.loads(done.out)
        return summary

    return bring_file


@pytest.fixture
def refused(run: RunCommand, settings: Settings) -> Callable[..., str]:
    """Import a file that must be refused; the error line. Nothing was enqueued or stored."""

    def attempt(*arguments: str) -> str:
        before = kept(settings)
        line = only_line(run("import", *arguments))
        assert kept(settings) == before
        return line

    return attempt


@pytest.fixture
def refused_within_bounds(settings: Settings, tmp_path: Path) -> Callable[..., str]:
    """The same in a process of its own, whose memory is bounded; it may be fed on standard input."""

    def attempt(file: str, fed: Iterable[bytes] = ()) -> str:
        before, peak = kept(settings), tmp_path / "peak"
        command = [sys.executable, "-c", MEASURED, "import", file, "--kind", "customers", str(peak)]
        line = only_line(fed_with(command, fed, tmp_path))
        assert kept(settings) == before
        assert peak_of(peak) < MOST_OF_COMMAND
        return line

    return attempt


def fed_with(command: list[str], blocks: Iterable[bytes], folder: Path) -> Done:
    """Run a command with the blocks as its input; it may stop reading before the last one."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin
        with suppress(BrokenPipeError):
            for block in blocks:
                process.stdin.write(block)
            process.stdin.flush()
        out, err = process.communicate(timeout=60)
    return Done(process.returncode, out.decode(), err.decode())


def only_line(done: Done) -> str:
    """The one line of a command that refused a file."""
    assert (done.status, done.out) == (2, ""), done
    (line,) = done.err.splitlines()
    assert line.startswith("orderworks: ")
    return line


def kept(settings: Settings) -> set[str]:
    """The files of the spool: what is accepted has one."""
    folder = Path(settings.orderworks_home) / "spool"
    return {str(each) for each in folder.rglob("*") if each.is_file()}


def peak_of(status: Path) -> int:
    """The most memory, in KiB, that the process with that status ever held."""
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert found
    return int(found[1])


@pytest.mark.parametrize(
    ("name", "pack"), [("bomb.csv.gz", gzip.compress), ("b.zst", zstd.compress)]
)
def test_a_decompression_bomb_is_refused_in_bounded_memory(
    name: str,
    pack: Callable[[bytes], bytes],
    refused_within_bounds: Callable[..., str],
    tmp_path: Path,
) -> None:
    # Both formats allow concatenated members, each compressed separately.
    (tmp_path / name).write_bytes(pack(HEADER) + pack(LINES) * MEGABYTES)
    line = refused_within_bounds(name)
    assert "decompresses to more than 200 times its size (the setting IMPORT_MAX_RATIO)" in line


def test_nested_bomb_and_gigabyte_zstd_window_are_refused(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "nested.csv.gz").write_bytes(gzip.compress(gzip.compress(HEADER + ROW)))
    assert "is compressed twice, by gzip and gzip" in refused("nested.csv.gz")
    window_of_a_gigabyte = bytes([20 << 3])
    frame = b"\x28\xb5\x2f\xfd\x00" + window_of_a_gigabyte + b"\x29\x00\x00hello"
    (tmp_path / "window.csv.zst").write_bytes(frame)
    assert "its zstd data are damaged: " in refused("window.csv.zst")


def test_a_field_of_100_mb_is_refused_while_it_streams(
    refused_within_bounds: Callable[..., str],
) -> None:
    megabyte = b"x" * (1 << 20)
    line = refused_within_bounds("-", [HEADER, b"1,", *[megabyte] * MEGABYTES])
    assert "line 2 is longer than 1048576 bytes" in line


def test_unclosed_quote_rejects_only_its_own_lines(
    import_and_follow: ImportFile, run: RunCommand
) -> None:
    short = b"x" * 999 + b"\n"
    summary = import_and_follow("open.csv", HEADER + ROW + b'2,"' + short * 3000, *KIND)
    assert (summary["status"], summary["rejected"]) == ("done", 3000)
    assert summary["applied"] + summary["unchanged"] == 1
    assert codes(run, summary) == {"unclosed_quote": 1, "wrong_width": 2999}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("wide.csv", b"id,name," + b",".join(b"c%d" % each for each in range(9_998)) + b"\n"),
        ("wide.jsonl", json.dumps({f"c{each}": 1 for each in range(10_000)}).encode()),
    ],
)
def test_ten_thousand_columns_are_refused(
    name: str, content: bytes, refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert "has more than 1000 columns (the setting IMPORT_MAX_COLUMNS)" in refused(name)


def test_widest_file_is_loaded_in_bounded_memory(
    import_and_follow: ImportFile,
) -> None:
    columns = b"id,name," + b",".join(b"c%d" % each for each in range(998)) + b"\n"
    rows = b"".join(b"%d,Ada" % each + b",1" * 998 + b"\n" for each in range(1, 8_001))
    summary = import_and_follow("wide.csv", columns + rows, *KIND)
    assert (summary["status"], summary["chunks"]) == ("done", 2)
    assert summary["applied"] + summary["unchanged"] == 8_000


def test_invalid_totals_are_rejected_with_their_reason(
    import_and_follow: ImportFile, run: RunCommand
) -> None:
    rows = "".join(f"{key},1,{total}\n" for key, total in enumerate(TOTALS, 11))
    content = f"id,customer_id,total\n{rows}10,1,5\n".encode()
    summary = import_and_follow("totals.csv", content)
    assert (summary["applied"], summary["rejected"]) == (1, len(TOTALS))
    assert codes_in_order(run, summary) == list(TOTALS.values())


def test_unsupported_json_values_are_rejected_with_their_reason(
    import_and_follow: ImportFile, run: RunCommand
) -> None:
    rows = "".join(
        f'{{"id":{key},"customer_id":1,"total":{total}}}\n'
        for key, total in enumerate(JSON_TOTALS, 31)
    )
    content = f'{rows}{{"id":30,"customer_id":1,"total":5}}\n'.encode()
    summary = import_and_follow("totals.jsonl", content)
    assert (summary["applied"], summary["rejected"]) == (1, len(JSON_TOTALS))
    assert codes_in_order(run, summary) == list(JSON_TOTALS.values())


def test_rows_with_invalid_utf8_or_nul_are_rejected(
    import_and_follow: ImportFile, run: RunCommand
) -> None:
    content = HEADER + b"51,\xff\xfe\n52,A\0B\n53,\xed\xa0\x80\n54,Eve\n"
    summary = import_and_follow("bytes.csv", content, *KIND)
    assert (summary["applied"], summary["rejected"]) == (1, 3)
    assert codes_in_order(run, summary) == ["bad_encoding", "nul_byte", "bad_encoding"]


def test_deepest_readable_json_objects_are_written_as_rejects(
    import_and_follow: ImportFile, run: RunCommand
) -> None:
    rows = [
        '{"id":1,"customer_id":1,"total":"x","note":' + "[" * depth + "]" * depth + "}\n"
        for depth in range(700, 1000)
    ]
    summary = import_and_follow("deep.jsonl", "".join(rows).encode())
    assert summary["rejected"] == len(rows)
    assert set(codes(run, summary)) == {"bad_number", "bad_json"}, "some could be read"


def test_reject_sheet_contains_no_formula(import_and_follow: ImportFile, run: RunCommand) -> None:
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0", "'=1"]
    text = io.StringIO()
    csv.writer(text).writerows([["id", "name", "=1+2"], *(["x", each, each] for each in formulas)])
    summary = import_and_follow("formulas.csv", text.getvalue().encode(), *KIND)
    header, *sheet = csv.reader(io.StringIO(run("rejects", summary["id"]).out))
    assert [row[1:3] for row in sheet] == [[f"'{each}", f"'{each}"] for each in formulas]
    assert header[2] == "'=1+2"
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for row in sheet for cell in row)


def test_non_regular_files_are_refused_without_blocking(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    for path, problem in (
        ("pipe.csv", "is not a regular file"),
        ("/dev/zero", "is not a regular file"),
        ("folder.csv", "is a folder"),
        ("folder.csv/..", "is a folder"),
        ("../../nothing.csv", "there is no such file"),
        ("loop.csv", "cannot be opened"),
        ("x" * 5000, "cannot be opened"),
        ("", "is a folder"),
    ):
        assert problem in refused(path)


def test_only_the_file_name_of_a_traversing_path_is_kept(
    import_and_follow: ImportFile, run: RunCommand, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "inner").mkdir()
    summary = import_and_follow(
        "inner/../../" + f"{tmp_path.name}/climbs.csv", HEADER + b"61,Ada\n", *KIND
    )
    assert (summary["status"], summary["source"]) == ("done", "climbs.csv")
    data = [Path(each) for each in kept(settings) if Path(each).name == summary["id"]]
    assert data == [Path(settings.orderworks_home) / "spool" / "data" / summary["id"]]


@pytest.mark.parametrize("command", ["imports", "rejects", "pause", "resume", "cancel", "retry"])
def test_path_is_not_accepted_as_import_id(run: RunCommand, command: str) -> None:
    for import_id in (
        "../../etc/passwd",
        "data/x",
        "%2e%2e",
        "x" * 100_000,
        "'; DROP TABLE orders",
    ):
        assert f"no import has the id {import_id}" in only_line(run(command, import_id))


@pytest.mark.parametrize("task", [TaskName.PLAN_IMPORT, TaskName.LOAD_CHUNK])
def test_message_cannot_address_a_file_outside_the_spool(
    task: TaskName, worker: CeleryProcess, settings: Settings
) -> None:
    home = Path(settings.orderworks_home)
    (home / "spool" / "manifests").mkdir(parents=True, exist_ok=True)
    (home / "planted.json").write_text('{"id": "planted"}')
    before = {str(each) for each in home.rglob("*")}
    with Celery(broker=settings.broker, set_as_current=False) as sender:
        for import_id in HOSTILE_IDS:
            arguments = (import_id,) if task is TaskName.PLAN_IMPORT else (import_id, 0)
            sent = sender.send_task(task.value, args=arguments, queue=QUEUE_OF[task].value)
            eventually(is_over(sent.id, worker), 10, str(import_id)[:80])
            assert f"[{sent.id}] raised" in worker.said()
    assert {str(each) for each in home.rglob("*")} == before


def test_message_for_invalid_chunk_number_changes_nothing(
    import_and_follow: ImportFile, worker: CeleryProcess, settings: Settings, run: RunCommand
) -> None:
    import_id = import_and_follow("one.csv", HEADER + b"71,Ada\n", *KIND)["id"]
    before = run("imports", import_id, "--json").out
    name, queue = TaskName.LOAD_CHUNK, QUEUE_OF[TaskName.LOAD_CHUNK]
    with Celery(broker=settings.broker, set_as_current=False) as sender:
        for number in (-1, 1 << 31, 1 << 70, 0.5, None, "0; DROP TABLE orders", [0]):
            arguments = (import_id, number)
            sent = sender.send_task(name.value, args=arguments, queue=queue.value)
            eventually(is_over(sent.id, worker), 10, str(number))
    assert run("imports", import_id, "--json").out == before


def is_over(task_id: str, worker: CeleryProcess) -> Callable[[], bool]:
    """Checks whether the worker has run a task, successfully or not."""
    return lambda: bool(re.search(rf"\[{task_id}\] (raised|succeeded)", worker.said()))


def codes_in_order(run: RunCommand, summary: Document) -> list[str]:
    """The code of each reject, from the sheet to correct."""
    done = run("rejects", summary["id"])
    assert done.status == 0, done.err
    csv.field_size_limit(1 << 22)
    return [row["code"] for row in csv.DictReader(io.StringIO(done.out.replace("\0", "␀")))]


def codes(run: RunCommand, summary: Document) -> Counter[str]:
    """The number of rejects by code."""
    return Counter(codes_in_order(run, summary))
