"""Names of columns: those that the ledger cannot keep, and keys that come late in JSON Lines."""

import pytest
from msgspec.structs import replace

from orderworks.core.errors import ImportFailed, InvalidFile
from orderworks.imports import ledger
from orderworks.imports.importer import Importer
from tests.support.types import AcceptFile


@pytest.mark.parametrize("changed", [{"source": "a\0b"}, {"header": ["id", "name", "x\0y"]}])
def test_column_name_with_nul_fails_the_import_at_once(
    accept: AcceptFile, importer: Importer, changed: dict[str, object]
) -> None:
    import_id = accept(b"id,name,x\n1,Ada,\n", "customers")
    manifest = importer.spool.manifest(import_id)
    assert manifest
    # A producer of an older version accepted them.
    importer.spool.write_manifest(replace(manifest, **changed))
    with pytest.raises(ImportFailed, match="has a NUL in it"):
        importer.plan(import_id)
    with importer.engine.connect() as connection:
        summary = ledger.import_summary(connection, import_id)
    assert (summary["status"], "NUL" in summary["error"]) == ("failed", True)
    assert import_id not in importer.spool.list_waiting()


def test_json_lines_without_a_required_key_are_refused_listing_their_keys(
    accept: AcceptFile,
) -> None:
    said = r"has no column 'customer_id'; its columns are id, cust, total\. Map one"
    with pytest.raises(InvalidFile, match=said):
        accept(b'{"id": 1, "cust": 1, "total": 1}\n')
