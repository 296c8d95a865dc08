"""Rejected rows, corrected by hand and imported again, with a worker for both imports."""

import json
from pathlib import Path

import sqlalchemy as sa

from orderworks.core.schema import customers
from tests.support.commands import RunCommand
from tests.support.processes import CeleryProcess

FILE = "id;name;note\n1;Ada;x\n2;;=y\n3;Bob;z\n4;;w\n"


def test_rejects_are_corrected_and_imported_until_all_rows_are_applied(
    run: RunCommand, worker: CeleryProcess, engine: sa.Engine, tmp_path: Path
) -> None:
    sheet = tmp_path / "bad.csv"
    (tmp_path / "all.csv").write_text(FILE, encoding="utf-8")
    first = json.loads(run("import", "all.csv", "--kind", "customers", "--follow", "--json").out)
    assert (first["applied"], first["rejected"]) == (2, 2)
    for corrected, (bad, good) in enumerate(
        (("2,,'=y", "2,Zoe,'=y"), ("4,,w", "4,Eve,w")), start=1
    ):
        written = run("rejects", first["id"]).out
        assert bad in written
        sheet.write_text(written.replace(bad, good), encoding="utf-8")
        done = run("import", "bad.csv", "--parent", first["id"], "--follow")
        assert (done.status, "1 applied" in done.out) == (0, True)
        parent = json.loads(run("imports", first["id"], "--json").out)
        assert (parent["rejected"], parent["mended"]) == (2, corrected)
    assert len(run("rejects", first["id"]).out.splitlines()) == 1, "only the header is left"
    with engine.connect() as connection:
        names = connection.scalars(sa.select(customers.c.name).order_by(customers.c.id)).all()
    assert names == ["Ada", "Zoe", "Bob", "Eve"]


def test_strict_import_with_a_reject_exits_1_and_applies_nothing(
    run: RunCommand, worker: CeleryProcess, tmp_path: Path
) -> None:
    (tmp_path / "strict.csv").write_text("id,name\n8,Ada\n9,\n", encoding="utf-8")
    done = run("import", "strict.csv", "--kind", "customers", "--strict", "--follow")
    assert done.status == 1
    assert "1 of 2 rows were rejected: none was imported" in done.out


def test_dry_run_predicts_the_result_of_the_import(
    run: RunCommand, worker: CeleryProcess, engine: sa.Engine, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.insert(customers), {"id": 20, "name": "Old [name]"})
    (tmp_path / "dry.csv").write_text("id,name\n20,New\n21,Ada\n22,\n", encoding="utf-8")
    command = ("import", "dry.csv", "--kind", "customers")
    predicted = run(*command, "--dry-run")
    assert predicted.status == 0
    assert "3 rows: 1 insert, 1 change, 1 rejected." in predicted.out
    assert "Old [name]" in predicted.out
    would = json.loads(run(*command, "--dry-run", "--json").out)["would"]
    with engine.connect() as connection:
        query = sa.select(customers.c.name).where(customers.c.id >= 20)
        assert connection.scalars(query).all() == ["Old [name]"]
    done = json.loads(run(*command, "--follow", "--json").out)
    assert (done["applied"], done["rejected"]) == (would["insert"] + would["change"], 1)
