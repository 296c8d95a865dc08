"""Retention: data of imports that ended long ago is deleted, all other data kept."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from orderworks.core.schema import dead_updates, import_chunks, import_writers, imports
from orderworks.core.settings import Settings
from orderworks.imports import control
from orderworks.imports.importer import Importer
from orderworks.maintenance.retention import PurgeResult, purge_expired
from producer.imports.accept import accept_import
from producer.imports.options import ImportOptions

LONG_AGO = datetime.now(UTC) - timedelta(days=100)


def accept(importer: Importer) -> str:
    """Accept an import of one customer; return its id."""
    job = accept_import(
        b"id,name\n1,Ada\n",
        ImportOptions(kind="customers", again=True),
        spool=importer.spool,
        stream=importer.stream,
        settings=importer.settings,
    )
    return job.id


def age_files(settings: Settings) -> list[Path]:
    """Make all files of the spool a month older; return the data files."""
    files = [*(settings.orderworks_home / "spool" / "data").iterdir()]
    for file in files:
        os.utime(file, (time.time() - 30 * 86400,) * 2)
    return files


def test_file_of_paused_import_is_kept(
    engine: sa.Engine, importer: Importer, settings: Settings
) -> None:
    paused = accept(importer)
    importer.plan(paused)
    control.apply_action(engine, importer.stream, control.pause, paused)
    age_files(settings)
    assert purge_expired(engine, importer.spool, settings) == PurgeResult(0, 0, 0)


def test_files_of_ended_imports_and_broken_uploads_are_deleted(
    engine: sa.Engine, importer: Importer, settings: Settings
) -> None:
    waiting, running, ended = accept(importer), accept(importer), accept(importer)
    for import_id in (running, ended):
        importer.plan(import_id)
    importer.load_chunk(ended, 0)
    importer.spool.upload("broken", [b"id,name\n"])
    assert len(age_files(settings)) == 4
    assert purge_expired(engine, importer.spool, settings) == PurgeResult(2, 0, 0)
    assert {file.name for file in age_files(settings)} == {waiting, running}


def test_recent_files_are_kept(engine: sa.Engine, importer: Importer, settings: Settings) -> None:
    accept(importer)
    assert purge_expired(engine, importer.spool, settings) == PurgeResult(0, 0, 0)


def test_old_ledger_rows_and_dead_letters_are_deleted(
    engine: sa.Engine, importer: Importer, settings: Settings
) -> None:
    old, young = accept(importer), accept(importer)
    for import_id in (old, young):
        importer.plan(import_id)
        importer.load_chunk(import_id, 0)
    letter = {"shard": 0, "payload": b"", "reason": "", "attempts": 1, "first_seen": LONG_AGO}
    with engine.begin() as connection:
        connection.execute(
            sa.update(imports).where(imports.c.id == old).values(finished_at=LONG_AGO)
        )
        connection.execute(
            sa.insert(import_writers),
            [{"import_id": each, "first_line": 2} for each in (old, young)],
        )
        connection.execute(
            sa.insert(dead_updates),
            [
                {**letter, "entry": 1, "died_at": LONG_AGO},
                {**letter, "entry": 2, "died_at": datetime.now(UTC)},
            ],
        )
    assert purge_expired(engine, importer.spool, settings) == PurgeResult(0, 1, 1)
    with engine.connect() as connection:
        assert list(connection.scalars(sa.select(imports.c.id))) == [young]
        for table in (import_chunks, import_writers):
            assert list(connection.scalars(sa.select(table.c.import_id))) == [young]
