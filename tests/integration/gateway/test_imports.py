"""Imports through the gateway: upload, listing, events, control, and rejects."""

import csv
import json
import threading
from collections.abc import Iterator
from decimal import Decimal

import httpx
import pytest

from orderworks.core.keys import import_progress
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.imports.importer import Importer
from orderworks.imports.spool import Spool
from orderworks_app.gateway.transfers import reject_files
from tests.support.gateways import JSON
from tests.support.types import WriteRows

CSV = {"Content-Type": "text/csv"}
FILE = b"id,customer_id,total\n1,7,19.99\n2,7,x\n3,8,1.5\n4,99,1.00\n5,8,y\n"
"""Three valid rows, and two with an invalid total."""


@pytest.fixture(autouse=True)
def known_customers(seed: WriteRows) -> None:
    """The customers of the file, each with an order."""
    seed({100 + each: (each, "paid", Decimal(1), 1) for each in (7, 8, 99)})


def upload(http: httpx.Client, content: bytes = FILE, **options: str) -> str:
    """Upload a file, and return the id of the import."""
    answer = http.post("/v1/imports", content=content, params=options, headers=CSV)
    assert answer.status_code == 202, answer.text
    import_id = str(answer.json()["id"])
    assert answer.headers["Location"] == f"/v1/imports/{import_id}"
    return import_id


def load(importer: Importer, import_id: str) -> None:
    """Load the file as workers do."""
    for number in importer.plan(import_id):
        importer.load_chunk(import_id, number)


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, object]]]:
    """Names and data of server-sent events."""
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def test_uploaded_file_is_imported_with_its_options(http: httpx.Client, importer: Importer) -> None:
    content = FILE.replace(b"total", b"o;t").replace(b",", b";").replace(b"o;t", b"o:t")
    options = {"filename": "orders.csv", "map": "total:o:t", "delimiter": ";", "max_rejects": "2"}
    import_id = upload(http, content, **options)
    waiting = http.get(f"/v1/imports/{import_id}").json()
    assert (waiting["status"], waiting["source"]) == ("accepted", "orders.csv")
    assert waiting["mapping"]["total"] == "o:t"
    load(importer, import_id)
    done = http.get(f"/v1/imports/{import_id}").json()
    assert (done["status"], done["applied"], done["rejected"]) == ("done", 3, 2)
    assert (done["max_rejects"], done["waits_for_updates"]) == (2, False)


def test_same_content_is_one_import_unless_again_is_set(http: httpx.Client) -> None:
    import_id = upload(http)
    same = http.post("/v1/imports", content=FILE, headers=CSV).json()
    assert same == {"id": import_id, "repeated": True}
    assert upload(http, again="true") != import_id


def test_upload_with_idempotency_key_is_done_once(http: httpx.Client) -> None:
    headers = {**CSV, "Idempotency-Key": "file-1"}
    first, second = (
        http.post("/v1/imports?again=true", content=FILE, headers=headers) for _ in range(2)
    )
    assert second.json() == first.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert first.headers["Location"] == second.headers["Location"]
    assert first.headers["Content-Type"] == second.headers["Content-Type"]
    other = http.post("/v1/imports?again=true", content=FILE + b"6,7,1\n", headers=headers)
    assert other.status_code == 422


def test_file_kept_after_dry_run_is_imported_without_new_upload(
    http: httpx.Client, importer: Importer, settings: Settings
) -> None:
    import_id = upload(http, dry_run="true", keep="true", filename="tried.csv")
    path, headers = f"/v1/imports/{import_id}:import", {"Idempotency-Key": "go", **JSON}
    early = http.post(path, headers=headers)
    assert (early.status_code, early.json()["type"]) == (409, "urn:orderworks:problem:wrong-state")
    load(importer, import_id)
    assert http.get(f"/v1/imports/{import_id}").json()["would"]["insert"] == 3
    first, second = (http.post(path, headers=headers) for _ in range(2))
    assert first.json() == second.json() == {"id": import_id, "repeated": False}
    assert (first.status_code, first.headers["Location"]) == (202, f"/v1/imports/{import_id}")
    assert Spool(settings.spool).list_waiting() == [import_id]
    load(importer, import_id)
    done = http.get(f"/v1/imports/{import_id}").json()
    assert (done["status"], done["source"], done["applied"]) == ("done", "tried.csv", 3)
    assert http.post(path, headers=JSON).status_code == 409
    assert http.post("/v1/imports/nobody:import", headers=JSON).status_code == 409


@pytest.mark.parametrize(
    ("options", "content", "message"),
    [
        ({}, b"", "is empty"),
        ({}, b"id,customer_id\n1,7\n", "total"),
        ({"map": "total"}, FILE, "map"),
        ({"map": ":total"}, FILE, "map"),
        ({"kind": "people"}, FILE, "kind"),
        ({"max_rejects": "-1"}, FILE, "max_rejects"),
        ({"strict": "true", "max_rejects": "1"}, FILE, "strict and max_rejects"),
        ({"delimiter": "::"}, FILE, "delimiter"),
        ({"keep": "true"}, FILE, "keep"),
        ({"preset": "none"}, FILE, "preset"),
        ({"parent": "20260101-000000-00000000"}, FILE, "parent"),
    ],
)
def test_unimportable_upload_is_refused_and_leaves_nothing(
    http: httpx.Client,
    settings: Settings,
    options: dict[str, str],
    content: bytes,
    message: str,
) -> None:
    answer = http.post("/v1/imports", content=content, params=options, headers=CSV)
    assert answer.status_code == 422
    assert message in answer.json()["detail"]
    assert Spool(settings.spool).list_waiting() == []
    assert http.get("/v1/imports").json()["imports"] == []


def test_import_known_only_by_manifest_is_found(http: httpx.Client, stream: Redis) -> None:
    import_id = upload(http)
    stream.delete(import_progress(import_id))
    assert http.get(f"/v1/imports/{import_id}").json()["status"] == "accepted"
    assert http.get("/v1/imports/20260101-000000-00000000").status_code == 404


def test_imports_are_listed_in_pages(http: httpx.Client, importer: Importer) -> None:
    import_ids = [upload(http, again="true") for _ in range(5)]
    for each in import_ids:
        load(importer, each)
    seen: list[str] = []
    path = "/v1/imports?limit=2"
    while path:
        answer = http.get(path)
        seen += [each["id"] for each in answer.json()["imports"]]
        path = str(answer.links.get("next", {}).get("url", ""))
    assert seen == import_ids[::-1]


def test_import_events_report_progress_and_close_with_the_end(
    http: httpx.Client, importer: Importer
) -> None:
    import_id = upload(http)
    with http.stream("GET", f"/v1/imports/{import_id}/events") as stream:
        assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        published = events(stream.iter_lines())
        name, first = next(published)
        assert (name, first["status"]) == ("progress", "accepted")
        load(importer, import_id)
        rest = list(published)
    assert [name for name, _ in rest[:-1]] == ["progress"] * (len(rest) - 1)
    name, last = rest[-1]
    assert (name, last["status"], last["applied"]) == ("end", "done", 3)


def test_events_of_finished_import_are_only_its_end(http: httpx.Client, importer: Importer) -> None:
    import_id = upload(http)
    load(importer, import_id)
    headers = {b"Last-Event-ID": b"7\xe9"}
    with http.stream("GET", f"/v1/imports/{import_id}/events", headers=headers) as stream:
        assert [name for name, _ in events(stream.iter_lines())] == ["end"]
    assert http.get("/v1/imports/20260101-000000-00000000/events").status_code == 404


def test_dry_run_events_end_with_predicted_result(http: httpx.Client, importer: Importer) -> None:
    import_id = upload(http, dry_run="true")
    with http.stream("GET", f"/v1/imports/{import_id}/events") as stream:
        published = events(stream.iter_lines())
        next(published)
        importer.plan(import_id)
        name, last = list(published)[-1]
    would = last["would"]
    assert name == "end"
    assert isinstance(would, dict)
    assert (would["insert"], would["rejected"]) == (3, 2)
    assert http.get("/v1/imports").json()["imports"] == []
    assert http.post(f"/v1/imports/{import_id}:cancel", headers=JSON).status_code == 409


def test_rejects_are_downloaded_corrected_and_uploaded_again(
    http: httpx.Client, importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reject_files, "PAGE_ROWS", 1)
    import_id = upload(http)
    load(importer, import_id)
    file = http.get(f"/v1/imports/{import_id}/rejects")
    assert file.headers["Content-Type"].startswith("text/csv")
    assert f"rejects-{import_id}.csv" in file.headers["Content-Disposition"]
    rows = list(csv.DictReader(file.text.splitlines()))
    assert [(row["id"], row["total"], row["line"]) for row in rows] == [
        ("2", "x", "3"),
        ("5", "y", "6"),
    ]
    lines = http.get(f"/v1/imports/{import_id}/rejects", params={"format": "jsonl"})
    assert [json.loads(line)["line"] for line in lines.text.splitlines()] == [3, 6]
    corrected = file.content.replace(b"2,7,x", b"2,7,2.00")
    load(importer, upload(http, corrected, parent=import_id))
    remaining = list(csv.DictReader(http.get(f"/v1/imports/{import_id}/rejects").text.splitlines()))
    assert [row["id"] for row in remaining] == ["5"]
    everything = http.get(f"/v1/imports/{import_id}/rejects", params={"all": "true"})
    assert everything.content == file.content


def test_reject_file_of_clean_import_has_only_a_header(
    http: httpx.Client, importer: Importer
) -> None:
    import_id = upload(http, b"id,customer_id,total\n1,7,1.00\n")
    assert http.get(f"/v1/imports/{import_id}/rejects").status_code == 409, "not planned yet"
    load(importer, import_id)
    file = http.get(f"/v1/imports/{import_id}/rejects").text
    assert file == "id,customer_id,total,line,column,code,reason,raw\n"
    assert http.get(f"/v1/imports/{import_id}/rejects/reasons").json() == {"reasons": []}


def test_reasons_are_counted_by_column_and_code(http: httpx.Client, importer: Importer) -> None:
    import_id = upload(http, FILE + b"z,7,1.00\n")
    load(importer, import_id)
    first, second = http.get(f"/v1/imports/{import_id}/rejects/reasons").json()["reasons"]
    assert (first["column"], first["rows"], first["first_line"]) == ("total", 2, 3)
    assert (second["column"], second["rows"], second["first_line"]) == ("id", 1, 7)
    assert "x" in first["reason"]


def test_an_import_is_paused_resumed_and_cancelled(http: httpx.Client, importer: Importer) -> None:
    import_id = upload(http)
    importer.plan(import_id)
    steps = [("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")]
    for steer, status in steps:
        answer = http.post(f"/v1/imports/{import_id}:{steer}", headers=JSON)
        assert (answer.status_code, answer.json()["status"]) == (200, status)
    for steer in ("pause", "resume", "cancel", "retry"):
        answer = http.post(f"/v1/imports/{import_id}:{steer}", headers=JSON)
        assert (answer.status_code, "cancelled" in answer.json()["detail"]) == (409, True)
    unknown = http.post("/v1/imports/20260101-000000-00000000:pause", headers=JSON)
    assert unknown.status_code == 404
    assert http.post(f"/v1/imports/{import_id}:explode", headers=JSON).status_code == 422


def test_twenty_streams_of_one_import_all_receive_the_end(
    http: httpx.Client, gateway: str, importer: Importer
) -> None:
    import_id = upload(http)
    all_started, ends = threading.Barrier(21), list[str]()

    def listen() -> None:
        with httpx.stream("GET", f"{gateway}/v1/imports/{import_id}/events", timeout=30) as stream:
            published = events(stream.iter_lines())
            next(published)
            all_started.wait(20)
            ends.append(list(published)[-1][0])

    listeners = [threading.Thread(target=listen) for _ in range(20)]
    for each in listeners:
        each.start()
    all_started.wait(20)
    load(importer, import_id)
    for each in listeners:
        each.join(20)
    assert ends == ["end"] * 20
