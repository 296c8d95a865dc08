"""Every row of any file is accounted for, and no valid one is lost."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from orderworks.core.schema import orders
from orderworks.imports.importer import Importer
from orderworks.imports.progress import COUNTS, Summary
from orderworks.imports.rejects import as_csv as as_sheet
from orderworks.imports.rejects import file_format_of, iter_rejects, iter_uncorrected
from tests.support.imports import summary_of
from tests.support.random_tables import (
    BAD,
    DELIMITERS,
    Row,
    TableFile,
    as_csv,
    as_jsonl,
    as_parquet,
    expected,
    read_stored,
    tables,
)
from tests.support.types import AcceptFile

pytestmark = [pytest.mark.usefixtures("people"), pytest.mark.slow]


class Cut(NamedTuple):
    """The limits of chunks, and the order in which they are loaded."""

    rows: int
    size: int
    order: int

    def importer(self, model: Importer) -> Importer:
        """One that cuts so."""
        limits = {"import_chunk_rows": self.rows, "import_chunk_bytes": self.size}
        return Importer(
            model.engine,
            model.spool,
            model.stream,
            model.cache,
            model.settings.model_copy(update=limits),
        )


cuts = st.builds(
    Cut, st.integers(1, 9), st.sampled_from((1, 40, 200, 1 << 20)), st.integers(0, 999)
)
seeds = st.integers(0, 2**16)


def any_table(examples: int) -> hypothesis_settings:
    return hypothesis_settings(
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        max_examples=examples,
        # To shrink an example takes longer than a test may.
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )


def empty(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(orders))


def load(importer: Importer, import_id: str, cut: Cut) -> Summary:
    """Load all of an accepted file; its summary."""
    cutting = cut.importer(importer)
    waiting = cutting.plan(import_id)
    Random(cut.order).shuffle(waiting)
    for number in waiting:
        step = cutting.load_chunk(import_id, number)
        waiting += step.chunks_to_nudge if step else []
    return summary_of(importer, import_id)


def assert_closes(importer: Importer, summary: Summary, file: TableFile) -> None:
    """Check that each row of the file is counted, and that the invalid ones are rejects."""
    assert summary["status"] == "done"
    assert summary["rows"] == len(file.rows) == sum(summary[name] for name in COUNTS)
    with importer.engine.connect() as connection:
        found = {each.line: each.code for each in iter_rejects(connection, summary["id"])}
    assert summary["rejected"] == len(found)
    assert found.keys() == file.rejects.keys()
    assert {line: code for line, code in found.items() if code not in file.rejects[line]} == {}


def assert_imported(importer: Importer, import_id: str, file: TableFile, cut: Cut) -> None:
    """Load the file into the empty table and compare everything."""
    empty(importer.engine)
    assert_closes(importer, load(importer, import_id, cut), file)
    wanted = expected(file)
    assert read_stored(importer.engine, wanted) == wanted


@any_table(20)
@given(
    rows=tables("wrong_width", "bad_encoding", "unclosed_quote"),
    delimiter=st.sampled_from(DELIMITERS),
    is_sniffed=st.booleans(),
    seed=seeds,
    cut=cuts,
)
def test_counts_of_any_csv_add_up_and_no_good_row_is_lost(
    importer: Importer,
    accept: AcceptFile,
    rows: Sequence[Row],
    delimiter: str,
    is_sniffed: bool,  # noqa: FBT001 - drawn
    seed: int,
    cut: Cut,
) -> None:
    file = as_csv(rows, delimiter, seed)
    import_id = accept(file.content, delimiter=None if is_sniffed else delimiter)
    assert_imported(importer, import_id, file, cut)


@any_table(12)
@given(rows=tables("bad_json", "bad_encoding", "wrong_type"), seed=seeds, cut=cuts)
def test_counts_of_any_json_lines_add_up_and_no_good_row_is_lost(
    importer: Importer, accept: AcceptFile, tmp_path: Path, rows: Sequence[Row], seed: int, cut: Cut
) -> None:
    file = as_jsonl(rows, seed)
    # The first line may be invalid, so only the name shows the format.
    path = tmp_path / "lines.jsonl"
    path.write_bytes(file.content)
    assert_imported(importer, accept(path), file, cut)


@any_table(12)
@given(rows=tables(), seed=seeds, cut=cuts)
def test_counts_of_any_parquet_file_add_up_and_no_good_row_is_lost(
    importer: Importer, accept: AcceptFile, rows: Sequence[Row], seed: int, cut: Cut
) -> None:
    file = as_parquet(rows, seed)
    assert_imported(importer, accept(file.content), file, cut)


# A large file with invalid rows of all codes, which are corrected.

ROWS = 3000
ORDERS = 2730
SPACING = 100
"""Every hundredth row is bad."""

WHOLE = Cut(400, 1 << 20, 5)
FORBIDDEN = "forbidden"


class Format(NamedTuple):
    """The format of a table, and the faults that a whole record can have in it.

    The last of these comes last in the file: a quote that stays open needs that.
    """

    write: Callable[[Sequence[Row]], TableFile]
    broken: tuple[str, ...]


FORMATS = {
    "csv": Format(
        lambda rows: as_csv(rows, ";", 1), ("wrong_width", "bad_encoding", "unclosed_quote")
    ),
    "jsonl": Format(lambda rows: as_jsonl(rows, 1), ("wrong_type", "bad_encoding", "bad_json")),
}


def clean_rows() -> list[Row]:
    """Good rows; of some orders there are two, a bad and a good one among them, in either order.

    The last ones need no quotes.
    """
    dice = Random(7)
    statuses = ("paid", "=1+1", "-5", "'quoted'", "\tx", 'a "b"', "new;old", "two\nlines", "é")
    return [
        Row(
            {
                "id": str(number % ORDERS + 1),
                "customer_id": str(dice.randint(1, 9)),
                "total": f"{dice.randrange(10**6)}.{number % 100:02}",
                "status": "paid" if number >= ROWS - SPACING else dice.choice(statuses),
                "created_at": "2024-02-29",
            },
            dice=number,
        )
        for number in range(ROWS)
    ]


def spoilt(rows: Sequence[Row], broken: Sequence[str]) -> list[Row]:
    """The rows, each hundredth made bad: in each column in each way, and as a whole."""
    cells = [
        ({name: text}, code)
        for name, codes in BAD.items()
        if name in rows[0].cells
        for code, text in {code: text for text, code in codes.items()}.items()
    ]
    whole: list[tuple[dict[str, str], str]] = [({}, code) for code in broken]
    ways = [({"status": FORBIDDEN}, "refused"), *whole[:-1], *cells, *cells]
    bad = list(rows)
    places = range(SPACING // 2, ROWS, SPACING)
    for place, (wrong, code) in zip(places, [*ways[: len(places) - 1], whole[-1]], strict=True):
        row = rows[place]
        bad[place] = row._replace(
            cells={**row.cells, **wrong},
            codes=frozenset([code]),
            broken="" if wrong else code,
        )
    return bad


def mended(importer: Importer, import_id: str, clean: dict[int, Row], bad: TableFile) -> bytes:
    """The sheet of the import's rejects with every wrong cell set right, by the line of the row."""
    with importer.engine.connect() as connection:
        text = as_sheet(
            iter_uncorrected(connection, import_id), file_format_of(connection, import_id)
        )
        sheet = list(csv.DictReader(io.StringIO("".join(text), newline="")))
    for row in sheet:
        line = int(row["line"])
        right, wrong = clean[line].cells, bad.rows[line].cells
        unreadable = bool(row["raw"])
        for name, cell in right.items():
            if unreadable or wrong[name] != cell or row["column"] == name:
                row[name] = cell
    file = io.StringIO()
    writer = csv.DictWriter(file, list(sheet[0]))
    writer.writeheader()
    writer.writerows(sheet)
    return file.getvalue().encode()


@pytest.mark.parametrize("name", FORMATS)
def test_file_with_every_reject_code_loses_no_good_row_and_corrections_complete_it(
    importer: Importer, accept: AcceptFile, name: str
) -> None:
    write, broken = FORMATS[name]
    rows = clean_rows()
    clean, bad = write(rows), write(spoilt(rows, broken))
    codes = Counter(code for codes in bad.rejects.values() for code in codes)
    of_cells = {code for column in BAD.values() for code in column.values()}
    assert codes.keys() == {*of_cells, *broken, "refused"}

    assert_imported(importer, accept(clean.content), clean, WHOLE)
    wanted = read_stored(importer.engine, expected(clean))
    with importer.engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE orders ADD CHECK (status <> '{FORBIDDEN}')"))
    parent = accept(bad.content)
    assert_imported(importer, parent, bad, WHOLE)

    rights = dict(zip(bad.rows, rows, strict=True))
    sheet = mended(importer, parent, rights, bad)
    child = load(importer, accept(sheet, parent=parent), WHOLE)
    assert (child["status"], child["rows"], child["rejected"]) == ("done", ROWS // SPACING, 0)
    account = summary_of(importer, parent)
    assert account["mended"] == account["rejected"] == ROWS // SPACING
    assert read_stored(importer.engine, wanted) == wanted
