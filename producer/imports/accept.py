"""Import files: accept one, and wait for what becomes of it."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
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
    COLUMNS,
    CUSTOMER_NAME,
    PARENT_LINE,
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
from producer.imports.options import ImportOptions, check_options
from producer.imports.sources.csv_header import reject_unstorable_names
from producer.imports.sources.limits import limits_of
from producer.imports.sources.open_source import ImportSource, OpenSource, open_source

KEPT_FILE_WAIT = 1.0
"""Seconds that a worker has from the end of a dry run until its file can be imported."""


def accept_import(
    source: ImportSource, options: ImportOptions, *, spool: Spool, stream: Redis, settings: Settings
) -> "ImportJob":
    """Put a file into the spool, complete and checked; its import.

    The import's place in the order of all writes is Redis' clock when the whole file is there. If
    the same content was imported in the same way before, that import is the answer.

    Raises:
        InvalidInput: the file as a whole, or what is asked, cannot be accepted.
        Unavailable: the spool or Redis did not answer. Nothing is imported.
    """
    check_options(options)
    import_id = _new_id(_server_time(stream))
    with _open(source, options, settings) as opened:
        mapping = matched_columns(opened, options)
        uploaded = spool.upload(import_id, opened.blocks)
    try:
        accepted = AcceptedImport(import_id, options, mapping, _server_time(stream))
        manifest = make_manifest(accepted, opened, uploaded)
        first = _publish_manifest(manifest, again=options.again, spool=spool, stream=stream)
    except BaseException:
        with suppress(OrderworksError):
            # First: a manifest without data would be an import that can only fail.
            spool.withdraw_manifest(import_id)
            spool.delete_data(import_id)
        raise
    if first:
        spool.delete_data(import_id)
        return ImportJob(first, stream, repeated=True)
    # It is accepted; that it cannot be seen yet is no reason to say otherwise.
    with suppress(redis.RedisError):
        publish_progress(stream, accepted_summary(manifest))
        ContentClaim(stream, manifest).extend()
    return ImportJob(import_id, stream)


def accept_kept_file(import_id: str, *, again: bool, spool: Spool, stream: Redis) -> "ImportJob":
    """The import of a file that a dry run has kept; as it was tried, but accepted now.

    Raises:
        WrongState: no file of such a dry run is kept.
        Unavailable: the spool or Redis did not answer. Nothing is imported.
    """
    kept, now = _await_kept_manifest(import_id, stream), _server_time(stream)
    manifest = msgspec.structs.replace(
        kept, dry_run=False, keep=False, accepted_at=now, version=version_at(now)
    )
    first = _publish_manifest(manifest, again=again, spool=spool, stream=stream)
    if first:
        return ImportJob(first, stream, repeated=True)
    with suppress(redis.RedisError):
        kept_files.delete(stream, import_id)
        # One step as the dry run's end, whose place it takes.
        publish_progress(stream, {**accepted_summary(manifest), "steps": 1})
        ContentClaim(stream, manifest).extend()
    return ImportJob(import_id, stream)


def _await_kept_manifest(import_id: str, stream: Redis) -> Manifest:
    """The manifest of a dry run. It is there some moments after the word that the dry run ended."""
    try:
        for pause in pauses(KEPT_FILE_WAIT):
            if found := kept_files.find(stream, import_id):
                return found
            if not _is_finished_dry_run(read_progress(stream, import_id)):
                break
            time.sleep(pause)
    except redis.RedisError as error:
        raise redis_unavailable(error) from error
    raise WrongState(f"no file of a dry run {import_id} is kept: let the file come again")


def _is_finished_dry_run(summary: Summary | None) -> bool:
    return summary is not None and summary["dry_run"] and summary["status"] == "done"


class AcceptedImport(NamedTuple):
    """What is decided about an import when it is accepted."""

    id: str
    options: ImportOptions
    mapping: dict[str, str]
    accepted_at: datetime


def matched_columns(opened: OpenSource, options: ImportOptions) -> dict[str, str]:
    """Target to source column, with the columns that only some imports have.

    Raises:
        InvalidFile: a needed or mapped column is missing.
    """
    mapping = dict(options.resolved_mapping)
    extras: dict[str, str] = {}
    if options.create_customers:
        extras |= _name_column(opened, mapping.pop(CUSTOMER_NAME, None))
    if options.parent is not None:
        extras[PARENT_LINE] = line_column(opened.name, opened.header)
    return match_columns(opened.name, options.resolved_kind, opened.header, mapping) | extras


def _name_column(opened: OpenSource, mapped: str | None) -> dict[str, str]:
    """Which column has the names of customers that are to be made, if the file has one."""
    found = opened.header.count(mapped or CUSTOMER_NAME)
    if found > 1 or (mapped and not found):
        much = "more than one" if found else "no"
        raise InvalidFile(f"{opened.name}: has {much} column '{mapped or CUSTOMER_NAME}'")
    return {CUSTOMER_NAME: mapped or CUSTOMER_NAME} if found else {}


def make_manifest(
    accepted: AcceptedImport, opened: OpenSource, uploaded: tuple[int, str]
) -> Manifest:
    """The manifest of what was uploaded, of which `uploaded` is the size and the SHA-256."""
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
        version=version_at(accepted.accepted_at),
        accepted_at=accepted.accepted_at,
        **{name: getattr(options, name) for name in LoadOptions.__struct_fields__},
    )


@contextmanager
def _open(source: ImportSource, options: ImportOptions, settings: Settings) -> Iterator[OpenSource]:
    """The source as `open_source` gives it; of mended rejects, with the columns' first names.

    The header of JSON Lines also has the keys that may come later than in the first records.
    """
    with open_source(source, options.delimiter, limits_of(settings)) as opened:
        header = opened.header
        if options.parent is not None:
            header = _original_columns(opened)
        if opened.format == "jsonl":
            # Now, while the header is what the file has: that is what the error lists.
            require_columns(opened.name, options.resolved_kind, header, options.resolved_mapping)
            header = tuple(dict.fromkeys([*header, *_optional_keys(options)]))
            reject_unstorable_names(opened.name, header)
        yield opened._replace(header=header)


def _original_columns(opened: OpenSource) -> tuple[str, ...]:
    """The columns of mended rejects as the first file calls them.

    Raises:
        InvalidFile: they are keys of JSON Lines, which a worker finds only as they are written.
    """
    names = tuple(unguard_formula(name) for name in opened.header)
    for key, name in zip(opened.header, names, strict=True):
        if opened.format == "jsonl" and key != name:
            raise InvalidFile(
                f"{opened.name}: the key {key!r} is {name!r} in the first file: call it so, or hand "
                "the mended rejects in as CSV"
            )
    return names


def _optional_keys(options: ImportOptions) -> list[str]:
    """The keys of JSON Lines that no record has to have."""
    targets = [column.name for column in COLUMNS[options.resolved_kind] if not column.required]
    if options.create_customers:
        targets.append(CUSTOMER_NAME)
    return [options.resolved_mapping.get(target, target) for target in targets]


def _publish_manifest(
    manifest: Manifest, *, again: bool, spool: Spool, stream: Redis
) -> str | None:
    """Make the import known to the workers, unless another one brought its content: that one's id.

    Raises:
        Unavailable: the spool or Redis did not answer. Nothing is imported.
    """
    content = ContentClaim(stream, manifest)
    try:
        if again and not manifest.dry_run:
            content.take_over()
        first = None if again or manifest.dry_run else content.claim()
        if first is None:
            spool.write_manifest(manifest)
    except BaseException:
        content.release()
        raise
    return first


def _new_id(now: datetime) -> str:
    """Sorts by time, and can be typed."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def _server_time(stream: Redis) -> datetime:
    """The time by the clock that also orders updates."""
    try:
        seconds, microseconds = stream.time()
    except redis.RedisError as error:
        raise redis_unavailable(error) from error
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)
