"""An import whose spool is a bucket, from the producer to the tables."""

import dataclasses
from collections.abc import Callable

import obstore
import pytest
import sqlalchemy as sa
from obstore.store import from_url

from orderworks.core.errors import DataMissing, ImportFailed, ImportNotFound
from orderworks.core.schema import customers, imports
from orderworks.imports.importer import Importer
from orderworks.imports.progress import Summary
from orderworks.imports.spool import Spool
from tests.support.s3 import Bucket

PEOPLE = b"id,name\n" + b"".join(b"%d,Customer %d\n" % (each, each) for each in range(1, 8))
"""Seven customers: three chunks."""


@pytest.fixture
def importer(importer: Importer, bucket: Bucket) -> Importer:
    """A worker's, with its spool in a bucket."""
    return dataclasses.replace(importer, spool=Spool(f"s3://{bucket.name}/spool"))


def in_bucket(bucket: Bucket) -> list[str]:
    """The paths of all that is there."""
    store = from_url(f"s3://{bucket.name}", client_options={"allow_http": True})
    return [each["path"] for each in obstore.list(store).collect()]


def test_import_through_a_bucket_loads_every_row(
    importer: Importer, bucket: Bucket, load: Callable[..., Summary]
) -> None:
    assert load(PEOPLE, "customers")["rows"] == 7
    with importer.engine.connect() as connection:
        assert list(connection.scalars(sa.select(customers.c.id).order_by("id"))) == [*range(1, 8)]
        (import_id,) = connection.scalars(sa.select(imports.c.id))
    assert in_bucket(bucket) == [f"spool/data/{import_id}"]


def test_import_through_a_bucket_waits_to_be_planned(
    importer: Importer, bucket: Bucket, accept: Callable[..., str]
) -> None:
    import_id = accept(PEOPLE, "customers")
    assert importer.spool.list_waiting() == [import_id]
    assert importer.plan(import_id) == [0, 1, 2]
    assert importer.spool.list_waiting() == []
    assert importer.plan(import_id) == [0, 1, 2]


def test_missing_or_replaced_bucket_data_fail_the_import(
    importer: Importer, accept: Callable[..., str]
) -> None:
    lost, changed = accept(PEOPLE, "customers"), accept(PEOPLE, "customers")
    importer.spool.delete_data(lost)
    with pytest.raises(DataMissing, match=f"the spool at s3://.* lacks the data of import {lost}"):
        importer.plan(lost)
    importer.spool.upload(changed, [PEOPLE.replace(b"1", b"2")])
    with pytest.raises(ImportFailed, match="is not what was accepted"):
        importer.plan(changed)


@pytest.mark.parametrize("no_id", ["", "../../etc/passwd", "a/b", "a\n", "one#1"])
def test_message_with_malformed_id_is_an_unknown_import(importer: Importer, no_id: str) -> None:
    with pytest.raises(ImportNotFound, match="there is no import"):
        importer.plan(no_id)
    with pytest.raises(ImportNotFound, match="there is no import"):
        importer.load_chunk(no_id, 0)


def test_message_with_id_invalid_as_path_is_an_unknown_import(importer: Importer) -> None:
    with pytest.raises(ImportNotFound, match="there is no import"):
        importer.plan("a\0b")
