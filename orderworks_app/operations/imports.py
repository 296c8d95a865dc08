"""Imports as operators find and control them, from a terminal or through the gateway.

The imports themselves, and the states that allow each action, are in `orderworks/imports/`.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

import redis
import sqlalchemy as sa

from orderworks.core.database import make_engine
from orderworks.core.errors import ImportNotFound, InvalidInput, OrderworksError, WrongState
from orderworks.core.redis import Redis, make_redis
from orderworks.core.routing import TaskName
from orderworks.core.settings import Settings
from orderworks.imports import control
from orderworks.imports.file_format import FileFormat
from orderworks.imports.file_notes import with_notes
from orderworks.imports.ledger import import_summary
from orderworks.imports.progress import Summary, accepted_summary, publish_progress, read_progress
from orderworks.imports.rejects import file_format_of
from orderworks.imports.spool import Spool
from orderworks.updates.stream import UpdateStream
from orderworks_app.operations.import_choices import Steer
from producer.nudges import Nudges

_CHANGES = {
    Steer.PAUSE: control.pause,
    Steer.RESUME: control.resume,
    Steer.CANCEL: control.cancel,
    Steer.RETRY: control.retry,
}


class Imports:
    """The imports of one ledger, and those that are not in it yet. Threads may share it.

    Attributes:
        ledger: the database that has the ledger.
    """

    def __init__(
        self, ledger: sa.Engine, client: Redis, nudges: Nudges, settings: Settings
    ) -> None:
        """`client` is of the server of the streams, where progress is published for producers."""
        self.ledger = ledger
        self._client = client
        self._nudges = nudges
        self._spool = Spool.from_settings(settings)
        self._updates = UpdateStream(client, settings.update_shards, settings.stream_limit)
        self._max_lag = settings.import_yield_lag

    @classmethod
    @contextmanager
    def from_environment(cls) -> Iterator[Self]:
        """The imports that the environment names, over connections that end with the block."""
        settings = Settings.load()
        ledger, nudges = make_engine(settings, "orderworks-cli"), Nudges(settings.broker)
        with make_redis(settings.stream, settings.redis_timeout) as client:
            try:
                yield cls(ledger, client, nudges, settings)
            finally:
                nudges.close()
                ledger.dispose()

    def find(self, import_id: str) -> Summary:
        """The summary in the ledger, else the published one, else that of the manifest in the spool.

        Raises:
            ImportNotFound: there is no such import.
        """
        with self.ledger.connect() as connection, suppress(ImportNotFound):
            return with_notes(self._client, import_summary(connection, import_id))
        accepted = self._accepted(import_id)
        if accepted is None:
            raise _unknown(import_id)
        return accepted

    def find_with_wait_state(self, import_id: str) -> Summary:
        """The same, with `waits_for_updates`: whether updates hold it back at present.

        Raises:
            ImportNotFound: there is no such import.
        """
        summary = self.find(import_id)
        held_back = summary["status"] == "running" and self.are_held_back()
        return {**summary, "waits_for_updates": held_back}

    def file_format(self, import_id: str) -> FileFormat:
        """The format of the import's records.

        Raises:
            ImportNotFound, WrongState: the ledger does not have it; with the reason.
        """
        with self.ledger.connect() as connection, suppress(ImportNotFound):
            return file_format_of(connection, import_id)
        raise self._not_in_ledger(import_id)

    def steer(self, import_id: str, steer: Steer) -> Summary:
        """Pause, resume, cancel or retry an import; its summary then.

        Raises:
            ImportNotFound: there is no such import.
            WrongState: its state does not allow the action.
        """
        try:
            summary = control.apply_action(self.ledger, self._client, _CHANGES[steer], import_id)
        except ImportNotFound:
            raise self._not_in_ledger(import_id) from None
        if steer is Steer.RETRY:
            control.reset_uncounted_starts(self._client, import_id)
        if steer in (Steer.RESUME, Steer.RETRY):
            # If the nudge is lost, the sweep sends another.
            self._nudges.send(TaskName.PLAN_IMPORT, import_id)
        return summary

    def republish_parent(self, parent: str) -> None:
        """Publish the parent of a correction again, if its summary in Redis has expired.

        Raises:
            InvalidInput: there is no such import.
        """
        if read_progress(self._client, parent) is None:
            try:
                publish_progress(self._client, self.find(parent))
            except ImportNotFound as error:
                raise InvalidInput(f"parent: {error}") from None

    def are_held_back(self) -> bool:
        """Return whether workers hold imports back, because updates have waited for too long."""
        with suppress(redis.RedisError):
            return self._updates.backlog().lag > self._max_lag
        return False

    def _accepted(self, import_id: str) -> Summary | None:
        """The summary of an import that is not planned; None for an unknown one."""
        published = read_progress(self._client, import_id)
        if published:
            return published
        with suppress(ImportNotFound):  # The spool refuses a text that cannot be an id.
            manifest = self._spool.manifest(import_id)
            return accepted_summary(manifest) if manifest else None
        return None

    def _not_in_ledger(self, import_id: str) -> OrderworksError:
        """The error for an action on an import that the ledger does not have."""
        accepted = self._accepted(import_id)
        if accepted is None:
            return _unknown(import_id)
        if accepted["dry_run"]:
            return WrongState(f"import {import_id} is a dry run, which the ledger does not record")
        return WrongState(
            f"import {import_id} is {accepted['status']} and not planned yet; try again in a "
            "moment, as soon as a worker has read the file"
        )


def _unknown(import_id: str) -> ImportNotFound:
    return ImportNotFound(f"no import has the id {import_id}; `orderworks imports` lists them")
