"""Acceptance of a file: upload it into the spool, write its manifest, publish its progress."""

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import msgspec
import redis

from orderworks.core.errors import (
    InvalidFile,
    OrderworksError,
    WrongState,
)
from orderworks.core.redis import Redis, redis_unavailable
from orderworks.core.settings import Settings
from orderworks.core.versions import version_at
from orderworks.imports import kept_files
from orderworks.imports.columns import (
    CUSTOMER_NAME,
    PARENT_LINE,
    find_column,
    match_columns,
    require_columns,
)
from orderworks.imports.manifest import LoadOptions, Manifest
from orderworks.imports.progress import Summary, accepted_summary, publish_progress, read_progress
from orderworks.imports.reject_sheet import line_column, unguard_formula
from orderworks.imports.spool import Spool
from producer.effects import pauses
from producer.imports.deduplication import ContentClaim
from producer.imports.job import ImportJob
from producer.imports.options import ImportOptions, check_is_past, check_options
from producer.imports.sources.csv_header import reject_unstorable_names
from producer.imports.sources.limits import limits_of
from producer.imports.sources.open_source import ImportSource, OpenSource, open_source

KEPT_FILE_WAIT = 1.0
"""Seconds that a worker has from the end of a dry run until its file can be imported."""


def accept_import(
    source: ImportSource, options: ImportOptions, *, spool: Spool, stream: Redis, settings: Settings
) -> ImportJob:
    """Upload a file into the spool and check it; return its import.

    The import's version, its place in the order of all writes, is that of `as_of`, else the time of
    Redis when the upload has ended. If the same content was imported with the same options before, that
    import is returned.

    Raises:
        InvalidInput: the file as a whole, or an option, cannot be accepted.
        Unavailable: the spool or Redis did not answer. Nothing is imported.
    """
    check_options(options)
    now = _server_time(stream)
    check_is_past(options.as_of, now)
    import_id = _new_id(now)
    with _open(source, options, settings) as opened:
        mapping = matched_columns(opened, options)
        uploaded = spool.upload(import_id, opened.blocks)
    try:
        accepted = AcceptedImport(import_id, options, mapping, _server_time(stream))
        manifest = make_manifest(accepted, opened, uploaded)
        earlier = _publish_manifest(manifest, again=options.again, spool=spool, stream=stream)
    except BaseException:
        with suppress(OrderworksError):
            # The manifest first: without data it would be an import that can only fail.
            spool.withdraw_manifest(import_id)
            spool.delete_data(import_id)
        raise
    if earlier:
        spool.delete_data(import_id)
        return ImportJob(earlier, stream, repeated=True)
    # It is accepted even if its progress cannot be published yet.
    with suppress(redis.RedisError):
        publish_progress(stream, accepted_summary(manifest))
        ContentClaim(stream, manifest).extend()
    return ImportJob(import_id, stream)


def accept_kept_file(import_id: str, *, again: bool, spool: Spool, stream: Redis) -> ImportJob:
    """Import the file that a dry run has kept, with the options of the dry run, accepted now.

    Raises:
        WrongState: no file of such a dry run is kept.
        Unavailable: the spool or Redis did not answer. Nothing is imported.
    """
    kept, now = _await_kept_manifest(import_id, stream), _server_time(stream)
    manifest = msgspec.structs.replace(
        kept, dry_run=False, keep=False, accepted_at=now, version=version_at(kept.as_of or now)
    )
    earlier = _publish_manifest(manifest, again=again, spool=spool, stream=stream)
    if earlier:
        return ImportJob(earlier, stream, repeated=True)
    with suppress(redis.RedisError):
        kept_files.delete(stream, import_id)
        # One step, as the summary of the dry run that it replaces.
        publish_progress(stream, {**accepted_summary(manifest), "steps": 1})
        ContentClaim(stream, manifest).extend()
    return ImportJob(import_id, stream)


def _await_kept_manifest(import_id: str, stream: Redis) -> Manifest:
    """Return the manifest that a dry run kept. It is stored shortly after the dry run's summary."""
    try:
        for pause in pauses(KEPT_FILE_WAIT):
            if manifest := kept_files.find(stream, import_id):
                return manifest
            if not _is_finished_dry_run(read_progress(stream, import_id)):
                break
            time.sleep(pause)
    except redis.RedisError as error:
        raise redis_unavailable(error) from error
    raise WrongState(f"no file of a dry run {import_id} is kept: submit the file again")


def _is_finished_dry_run(summary: Summary | None) -> bool:
    return summary is not None and summary["dry_run"] and summary["status"] == "done"


class AcceptedImport(NamedTuple):
    """The id, options, mapping and time of an import that is being accepted."""

    id: str
    options: ImportOptions
    mapping: dict[str, str]
    accepted_at: datetime


def matched_columns(opened: OpenSource, options: ImportOptions) -> dict[str, str]:
    """Return target to source column, including the columns that only some options need.

    Raises:
        InvalidFile: a needed or mapped column is missing.
    """
    mapping = dict(options.resolved_mapping)
    extras: dict[str, str] = {}
    if options.create_customers:
        extras |= _name_column(opened, mapping.pop(CUSTOMER_NAME, None))
    if options.parent is not None:
        extras[PARENT_LINE] = line_column(opened.name, opened.header)
    matched = match_columns(
        opened.name, options.resolved_kind, opened.header, mapping, opened.delimiter
    )
    return matched | extras


def _name_column(opened: OpenSource, mapped: str | None) -> dict[str, str]:
    """Return the mapping of the column with names of customers to create, if the file has one."""
    column = find_column(opened.name, opened.header, mapped or CUSTOMER_NAME)
    if mapped and column is None:
        raise InvalidFile(f"{opened.name}: has no column '{mapped}'")
    return {CUSTOMER_NAME: column} if column else {}


def make_manifest(
    accepted: AcceptedImport, opened: OpenSource, uploaded: tuple[int, str]
) -> Manifest:
    """Return the manifest; `uploaded` is the size and the SHA-256 of the data in the spool."""
    size, sha256 = uploaded
    options = accepted.options
    return Manifest(
        id=accepted.id,
        kind=options.resolved_kind,
        source=opened.name,
        mapping=accepted.mapping,
        format=opened.format,
        delimiter=opened.delimiter,
        header=list(opened.header),
        data_start=opened.data_start,
        data_line=opened.data_line,
        bytes=size,
        sha256=sha256,
        version=version_at(options.as_of or accepted.accepted_at),
        accepted_at=accepted.accepted_at,
        modified_at=opened.modified_at,
        **{name: getattr(options, name) for name in LoadOptions.__struct_fields__},
    )


@contextmanager
def _open(source: ImportSource, options: ImportOptions, settings: Settings) -> Iterator[OpenSource]:
    """Open the source; the header of corrected rejects has the column names of the parent's file.

    The header of JSON Lines also has the optional keys that its first records may lack.
    """
    limits = limits_of(settings)
    with open_source(source, options.delimiter, limits, partial(_is_complete, options)) as opened:
        header = opened.header
        if options.parent is not None:
            header = _original_columns(opened)
        if opened.format == "jsonl":
            # Before keys are added: the error lists the header of the file.
            header = tuple(dict.fromkeys([*header, *_absent_keys(opened.name, header, options)]))
            reject_unstorable_names(opened.name, header)
        yield opened._replace(header=header)


def _is_complete(options: ImportOptions, header: Sequence[str]) -> bool:
    """Return whether a header has the columns that the options need."""
    try:
        require_columns("", options.resolved_kind, header, options.resolved_mapping)
    except InvalidFile:
        return False
    return True


def _original_columns(opened: OpenSource) -> tuple[str, ...]:
    """Return the columns of corrected rejects by their names in the parent's file.

    Raises:
        InvalidFile: a key of JSON Lines has another name there; workers do not translate keys.
    """
    names = tuple(unguard_formula(name) for name in opened.header)
    for key, name in zip(opened.header, names, strict=True):
        if opened.format == "jsonl" and key != name:
            raise InvalidFile(
                f"{opened.name}: the key {key!r} is {name!r} in the parent's file: rename it, or "
                "submit the corrected rejects as CSV"
            )
    return names


def _absent_keys(name: str, header: Sequence[str], options: ImportOptions) -> list[str]:
    """Return the optional keys of JSON Lines that the first records lack.

    Raises:
        InvalidFile: they also lack a key that is needed.
    """
    mapping = options.resolved_mapping
    keys = require_columns(name, options.resolved_kind, header, mapping)
    customer_name = mapping.get(CUSTOMER_NAME, CUSTOMER_NAME)
    if options.create_customers and find_column(name, header, customer_name) is None:
        keys.append(customer_name)
    return keys


def _publish_manifest(
    manifest: Manifest, *, again: bool, spool: Spool, stream: Redis
) -> str | None:
    """Write the manifest, unless another import has claimed the content: return that one's id.

    Raises:
        Unavailable: the spool or Redis did not answer. Nothing is imported.
    """
    claim = ContentClaim(stream, manifest)
    try:
        if again and not manifest.dry_run:
            claim.take_over()
        earlier = None if again or manifest.dry_run else claim.claim()
        if earlier is None:
            spool.write_manifest(manifest)
    except BaseException:
        claim.release()
        raise
    return earlier


def _new_id(now: datetime) -> str:
    """Return an id that sorts by time and is short enough to type."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def _server_time(stream: Redis) -> datetime:
    """Return the time of Redis, which also orders updates."""
    try:
        seconds, microseconds = stream.time()
    except redis.RedisError as error:
        raise redis_unavailable(error) from error
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)
