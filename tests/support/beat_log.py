"""All slots that were run: a trigger on `beat_runs` logs every claim."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import sqlalchemy as sa

_LOG = """
CREATE TABLE slot_log AS SELECT entry, slot_at, started_at, claimed_by FROM beat_runs WHERE false;
CREATE FUNCTION log_slot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO slot_log SELECT NEW.entry, NEW.slot_at, NEW.started_at, NEW.claimed_by;
  RETURN NULL;
END $$;
CREATE TRIGGER log_first AFTER INSERT ON beat_runs
  FOR EACH ROW WHEN (NEW.runs > 0) EXECUTE FUNCTION log_slot();
CREATE TRIGGER log_next AFTER UPDATE ON beat_runs
  FOR EACH ROW WHEN (NEW.runs <> OLD.runs) EXECUTE FUNCTION log_slot();
"""

_READ = sa.text(
    "SELECT slot_at, started_at, claimed_by FROM slot_log WHERE entry = :entry ORDER BY started_at"
)


class BeatRun(NamedTuple):
    """One run: the time of its slot, when it began, and the message that it came by."""

    slot_at: datetime
    started_at: datetime
    message: str


def log_slots(engine: sa.Engine) -> None:
    """Note every claim from now on."""
    with engine.begin() as connection:
        connection.execute(sa.text(_LOG))


def runs(engine: sa.Engine, entry: str) -> list[BeatRun]:
    """The runs of an entry, in order."""
    with engine.connect() as connection:
        return [BeatRun(*row) for row in connection.execute(_READ, {"entry": entry})]


def shortest_slot(found: list[BeatRun]) -> timedelta:
    """The least time from one slot that was run to the next."""
    return min(after.slot_at - before.slot_at for before, after in pairwise(found))


def longest_gap(found: list[BeatRun]) -> timedelta:
    """The longest time without a run."""
    return max(after.started_at - before.started_at for before, after in pairwise(found))
