"""JSON documents of commands, on which scripts rely, are unchanged.

`test_surface.py` describes how to rewrite the golden files.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orderworks.cache import invalidation
from orderworks.core.keys import update_stream, update_verdict
from orderworks.core.redis import Redis
from orderworks.core.schema import dead_updates
from orderworks.core.settings import Settings
from orderworks.imports import chunk_attempt
from orderworks.imports.importer import Importer
from orderworks.reports.refresh import refresh
from orderworks.updates.messages import UpdateOutcome, Verdict
from orderworks_app.cli.app import run as run_command
from tests.support.golden import compare
from tests.support.processes import eventually
from tests.support.types import WriteRows
from worker.beat.entries import PlannedEntry, register
from worker.beat.slots import record_success

EMPTY = {"rebuild --check | recounted_for[]"}
"""Lists that never hold anything."""


class Documents:
    """Runs commands, and keeps which members of their JSON documents have which types.

    A command is given as its golden file shows it: words in capitals stand for the values.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys, self._patch = capsys, patch
        self._types: dict[str, set[str]] = defaultdict(set)

    def print(self, command: str, *values: str) -> Any:  # noqa: ANN401 - JSON
        """The document that the command prints with `--json`."""
        given = iter(values)
        words = [next(given) if word.isupper() else word for word in command.split()]
        self._capsys.readouterr()
        self._patch.setattr(sys, "argv", ["orderworks", *words, "--json"])
        with pytest.raises(SystemExit) as ended:
            run_command()
        printed = self._capsys.readouterr()
        assert ended.value.code in (None, 0, 1), printed.err
        document = json.loads(printed.out)
        for path, kind in members(document):
            self._types[f"{command} | {path or '(all)'}"].add(kind)
        return document

    def compare(self, name: str) -> None:
        """Fail unless the documents so far have the members that the golden file lists."""
        facts = [f"{path}: {'|'.join(sorted(kinds))}" for path, kinds in self._types.items()]
        empty = {path for path, kinds in self._types.items() if kinds == {"empty list"}}
        assert empty <= EMPTY, "a list has to hold something to be known"
        compare(name, sorted(facts))


def members(document: object, path: str = "") -> Iterator[tuple[str, str]]:
    """All values of a document: the path of keys to each, and its type."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from members(value, f"{path}.{key}".removeprefix("."))
    elif isinstance(document, list):
        for value in document:
            yield from members(value, f"{path}[]")
        if not document:
            yield f"{path}[]", "empty list"
    else:
        yield path, "null" if document is None else type(document).__name__


@pytest.fixture
def documents(
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Documents:
    """Commands run against the test's servers, in a folder of its own."""
    assert settings.database
    monkeypatch.chdir(tmp_path)
    return Documents(capsys, monkeypatch)


@pytest.fixture
def file(seed: WriteRows, tmp_path: Path) -> str:
    """A file of orders in three chunks. The first has a bad row, a change and an id twice."""
    seed({1: (1, "new", Decimal(1), 0)})
    rows = ["1,1,2.00,new", "2,1,x,new", "1,1,3,new", *(f"{key},1,5,new" for key in range(4, 9))]
    header = "id,customer_id,total,statuss"
    (tmp_path / "orders.csv").write_text("\n".join([header, *rows, ""]))
    return "orders.csv"


def test_documents_of_imports_are_unchanged(
    documents: Documents, file: str, importer: Importer, engine: sa.Engine
) -> None:
    import_id = documents.print("import FILE", file)["id"]
    importer.plan(import_id)
    documents.print("imports ID", import_id)
    importer.load_chunk(import_id, 0)
    documents.print("imports ID", import_id)
    documents.print("imports")
    documents.print("rejects ID", import_id)
    documents.print("rejects ID --all", import_id)
    documents.print("pause ID", import_id)
    documents.print("resume ID", import_id)
    with engine.begin() as connection:
        chunk_attempt.quarantine_chunk(connection, import_id, 1, "the disk was full")
    documents.print("imports ID", import_id)
    documents.print("retry ID", import_id)
    documents.print("cancel ID", import_id)
    documents.compare("documents_imports.txt")


def test_documents_of_imports_that_are_waited_for_are_unchanged(
    documents: Documents, file: str, importer: Importer
) -> None:
    with ThreadPoolExecutor(1) as worker:
        dry = worker.submit(load_next, importer)
        documents.print("import FILE --dry-run", file)
        dry.result()
        worker.submit(load_next, importer)
        documents.print("import FILE --follow", file)
    documents.compare("documents_imports_ended.txt")


def load_next(importer: Importer) -> None:
    """Load the import that is accepted next, as a worker does."""
    (import_id,) = eventually(lambda: [*importer.spool.list_waiting()], 20, "no import")
    for number in importer.plan(import_id):
        importer.load_chunk(import_id, number)


def test_documents_of_updates_are_unchanged(
    documents: Documents, stream: Redis, tmp_path: Path
) -> None:
    (tmp_path / "updates.jsonl").write_text('{"order_id": 1, "total": "2"}\n')
    documents.print("update ID --total MONEY", "1", "9.99")
    documents.print("update --file FILE", "updates.jsonl")
    for outcome in (
        UpdateOutcome(Verdict.APPLIED),
        UpdateOutcome(Verdict.DEAD, "no such customer"),
    ):
        stream.delete(update_stream(0))
        with ThreadPoolExecutor(1) as worker:
            worker.submit(give_verdict, stream, outcome)
            documents.print("update ID --total MONEY --track --timeout S", "8", "1", "20")
    documents.compare("documents_updates.txt")


def give_verdict(stream: Redis, outcome: UpdateOutcome) -> None:
    """Settle the first update of shard 0 in the workers' place."""
    waiting: Any = eventually(lambda: stream.xrange(update_stream(0)), 20, "no update")
    stream.set(update_verdict(0, waiting[0][0].decode()), outcome.encode(), ex=60)


def test_documents_of_dead_updates_are_unchanged(documents: Documents, engine: sa.Engine) -> None:
    letter = {"shard": 0, "reason": "unknown", "first_seen": sa.func.now(), "attempts": 3}
    good = {**letter, "payload": b'{"order_id":42,"status":"paid"}', "replayed_at": None}
    changes: list[dict[str, object]] = [{}, {"replayed_at": sa.func.now()}, {"payload": b"?"}]
    with engine.begin() as connection:
        for number, change in enumerate(changes):
            connection.execute(sa.insert(dead_updates).values({**good, "entry": number, **change}))
    documents.print("dead")
    documents.print("dead ID", "1")
    documents.print("dead --replay ID", "3")
    documents.print("dead --replay-all")
    documents.compare("documents_dead.txt")


def test_documents_of_beat_are_unchanged(documents: Documents, engine: sa.Engine) -> None:
    sweep = "sweep"
    with engine.begin() as connection:
        register(
            connection, [PlannedEntry(sweep, "tasks.upkeep.sweep", 5), PlannedEntry("b", "b", 9)]
        )
        record_success(connection, sweep)
    documents.print("beat pause ENTRY", "b")
    documents.print("beat")
    documents.print("beat resume ENTRY", "b")
    documents.print("beat set ENTRY --every SECONDS", sweep, "7")
    documents.print("beat set ENTRY --default", sweep)
    documents.print("beat run ENTRY", sweep)
    documents.compare("documents_beat.txt")


def test_documents_of_tokens_are_unchanged(documents: Documents) -> None:
    documents.print("token create NAME --scope SCOPE", "plain", "read")
    documents.print("token create NAME --scope SCOPE --rate NUMBER", "fast", "operate", "2.5")
    documents.print("token list")
    documents.compare("documents_tokens.txt")


def test_documents_of_the_whole_are_unchanged(
    documents: Documents,
    file: str,
    importer: Importer,
    cache: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    importer.plan(documents.print("import FILE", file)["id"])
    refresh(importer.engine, cache, lambda _ids: None, depth=10)
    for path in invalidation.Path:
        invalidation.record(cache, path, [0.25])
    documents.print("report top-customers")
    documents.print("rebuild --check")
    monkeypatch.setenv("UNCOUNTED_STATUSES", "refunded")
    documents.print("rebuild")
    documents.print("status")
    documents.compare("documents_whole.txt")
