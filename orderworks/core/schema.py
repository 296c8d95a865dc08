"""The tables. Migrations create them; a test compares the two.

`version` and `field_versions` of a row decide which fields a write gives: see `core/field_versions.py`.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, INT8RANGE, JSONB

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

NOW = sa.text("now()")
ZERO = sa.text("0")
Money = sa.Numeric(14, 2)
Moment = sa.DateTime(timezone=True)

customers = sa.Table(
    "customers",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("email", sa.Text),
    sa.Column("version", sa.BigInteger, nullable=False, server_default=ZERO),
    sa.Column("phone", sa.Text),
    sa.Column("field_versions", ARRAY(sa.BigInteger)),
)

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column(
        "customer_id", sa.BigInteger, sa.ForeignKey("customers.id"), nullable=False, index=True
    ),
    sa.Column("status", sa.Text, nullable=False, server_default="new"),
    sa.Column("total", Money, nullable=False),
    sa.Column("created_at", Moment, nullable=False, server_default=NOW),
    sa.Column("updated_at", Moment, nullable=False, server_default=NOW),
    sa.Column("version", sa.BigInteger, nullable=False, server_default=ZERO),
    sa.Column("field_versions", ARRAY(sa.BigInteger)),
    # numeric(14,2) alone accepts NaN, which compares greater than every number.
    sa.CheckConstraint("total >= 0 AND total < 1000000000000", name="total"),
    postgresql_with={"fillfactor": 90},
)

# The ledger of imports: what was accepted, its chunks, and the outcome of every row.

imports = sa.Table(
    "imports",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("mapping", JSONB, nullable=False),
    sa.Column("delimiter", sa.Text, nullable=False),
    sa.Column("header", JSONB, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default="running"),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("accepted_at", Moment, nullable=False),
    sa.Column("planned_at", Moment, nullable=False, server_default=NOW),
    sa.Column("nudged_at", Moment, nullable=False, server_default=NOW),
    sa.Column("finished_at", Moment),
    # Why the import failed as a whole; a chunk's failure is in its own row.
    sa.Column("error", sa.Text),
    sa.Column("format", sa.Text, nullable=False, server_default="csv"),
    sa.Column("strict", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("max_rejects", sa.BigInteger),
    sa.Column("create_customers", sa.Boolean, nullable=False, server_default=sa.false()),
    # The import whose rejects this one corrects. It may be past its retention.
    sa.Column("parent", sa.Text, index=True),
    # Counts the published summaries of the import, so that no older one replaces a newer one.
    sa.Column("steps", sa.BigInteger, nullable=False, server_default=ZERO),
    # Whether an empty cell `keeps` or `clears` a field that may be null.
    sa.Column("empty", sa.Text, nullable=False, server_default="keeps"),
    sa.CheckConstraint("kind IN ('customers', 'orders')", name="kind"),
    sa.CheckConstraint(
        "status IN ('running', 'paused', 'done', 'failed', 'cancelled')", name="status"
    ),
)

import_chunks = sa.Table(
    "import_chunks",
    metadata,
    sa.Column("import_id", sa.Text, sa.ForeignKey("imports.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("start_byte", sa.BigInteger, nullable=False),
    sa.Column("end_byte", sa.BigInteger, nullable=False),
    sa.Column("first_line", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default="pending"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=ZERO),
    sa.Column("applied", sa.Integer, nullable=False, server_default=ZERO),
    sa.Column("unchanged", sa.Integer, nullable=False, server_default=ZERO),
    sa.Column("stale", sa.Integer, nullable=False, server_default=ZERO),
    sa.Column("superseded", sa.Integer, nullable=False, server_default=ZERO),
    sa.Column("rejected", sa.Integer, nullable=False, server_default=ZERO),
    sa.Column("error", sa.Text),
    sa.Column("finished_at", Moment),
    # The range of its rows' ids; the transaction that wrote some of them; and, if that left equal rows
    # unchanged, its snapshot. See `pending_chunks.reopen_overtaken`.
    sa.Column("ids", INT8RANGE),
    sa.Column("writer", sa.BigInteger),
    sa.Column("snapshot", sa.Text),
    sa.CheckConstraint("status IN ('pending', 'done', 'quarantined')", name="status"),
)

# A row for each (sub)transaction that wrote rows of a file with its own versions: its `xmin` is theirs
# too. `first_line` is the first line of the chunk in the file. See `loading.chunk_writers`.
import_writers = sa.Table(
    "import_writers",
    metadata,
    # No foreign key: a dry run is in no ledger.
    sa.Column("import_id", sa.Text, nullable=False, index=True),
    sa.Column("first_line", sa.BigInteger, nullable=False),
)

import_rejects = sa.Table(
    "import_rejects",
    metadata,
    sa.Column("import_id", sa.Text, sa.ForeignKey("imports.id"), primary_key=True),
    sa.Column("line", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("column", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("raw", sa.Text, nullable=False),
    # The import that loaded the corrected row.
    sa.Column("mended_by", sa.Text),
)

# The ledger of updates: how far each shard is applied, the parked and the dead updates.

update_shards = sa.Table(
    "update_shards",
    metadata,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("last_entry", sa.BigInteger, nullable=False, server_default=ZERO),
    sa.Column("accepted", sa.BigInteger, nullable=False, server_default=ZERO),
    sa.Column("applied", sa.BigInteger, nullable=False, server_default=ZERO),
    sa.Column("superseded", sa.BigInteger, nullable=False, server_default=ZERO),
    sa.Column("stale", sa.BigInteger, nullable=False, server_default=ZERO),
    sa.Column("duplicate", sa.BigInteger, nullable=False, server_default=ZERO),
    sa.Column("dead", sa.BigInteger, nullable=False, server_default=ZERO),
    # Updates that were not taken because the row has versions by the order of acceptance and they have
    # counters of their own; and the order of the last one.
    sa.Column("mixed", sa.BigInteger, nullable=False, server_default=ZERO),
    sa.Column("mixed_order_id", sa.BigInteger),
)

parked_updates = sa.Table(
    "parked_updates",
    metadata,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.BigInteger, primary_key=True, autoincrement=False),
    # An update of the same order must not overtake it.
    sa.Column("order_id", sa.BigInteger, nullable=False, index=True),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("first_seen", Moment, nullable=False, server_default=NOW),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("1")),
    sa.Column("next_attempt_at", Moment, nullable=False),
    sa.Column("tracked", sa.Boolean, nullable=False, server_default=sa.false()),
    # What it waits for: see `Cause` in orderworks/updates/entries.py.
    sa.Column("cause", sa.Text, nullable=False, server_default=sa.text("'unknown'")),
)

dead_updates = sa.Table(
    "dead_updates",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("entry", sa.BigInteger, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("first_seen", Moment, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("died_at", Moment, nullable=False, server_default=NOW),
    sa.Column("replayed_at", Moment),
    sa.UniqueConstraint("shard", "entry"),
)

# Verdicts of tracked updates: stored in the transaction that applied them, published after it.
tracked_verdicts = sa.Table(
    "tracked_verdicts",
    metadata,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("given_at", Moment, nullable=False, server_default=NOW, index=True),
)

# Updates that apps enqueue within transactions of their own. The table checks the values, so that plain
# SQL in any language gets its error at once.
update_outbox = sa.Table(
    "update_outbox",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("order_id", sa.BigInteger, nullable=False),
    sa.Column("customer_id", sa.BigInteger),
    sa.Column("status", sa.Text),
    sa.Column("total", Money),
    sa.Column("version", sa.BigInteger),
    # The position in the order of acceptance. Not now(), which is when the transaction began.
    sa.Column("enqueued_at", Moment, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.CheckConstraint("order_id >= 1", name="order_id"),
    sa.CheckConstraint("customer_id >= 1", name="customer_id"),
    sa.CheckConstraint("length(status) BETWEEN 1 AND 64", name="status"),
    sa.CheckConstraint("total >= 0 AND total < 1000000000000", name="total"),
    sa.CheckConstraint("version >= 0", name="version"),
    sa.CheckConstraint("num_nonnulls(customer_id, status, total) > 0", name="says_something"),
)

# The change log, written by triggers in the writer's own transaction, and what is folded from it.

# One row for each statement, several for a large one: arrays, with an entry for each row of orders that
# was added (1 order, and its total) or removed (-1); 0 and 0 if its status is not counted.
change_log = sa.Table(
    "change_log",
    metadata,
    # The writer's transaction, by which a worker finds the customers that it changed.
    sa.Column(
        "xact",
        sa.BigInteger,
        nullable=False,
        index=True,
        server_default=sa.text("(pg_current_xact_id()::text)::bigint"),
    ),
    # When it was written, unless the writer invalidates the customers' cached reads itself.
    sa.Column(
        "stale_since",
        Moment,
        server_default=sa.text(
            "CASE WHEN current_setting('orderworks.invalidates', true) IS NOT DISTINCT FROM 'on' "
            "THEN NULL ELSE clock_timestamp() END"
        ),
    ),
    sa.Column("entries", sa.Integer, nullable=False),
    sa.Column("customer_ids", ARRAY(sa.BigInteger), nullable=False),
    # These three are null where only customers' own rows changed.
    sa.Column("days", ARRAY(sa.Date)),
    sa.Column("orders", ARRAY(sa.Integer)),
    sa.Column("totals", ARRAY(sa.Numeric)),
    sa.Index(
        "ix_change_log_stale_since",
        "stale_since",
        postgresql_where=sa.text("stale_since IS NOT NULL"),
    ),
)

# A view of the log with a row for each entry.
customer_changes = sa.table(
    "customer_changes",
    sa.column("xact", sa.BigInteger),
    sa.column("customer_id", sa.BigInteger),
    sa.column("day", sa.Date),
    sa.column("orders", sa.BigInteger),
    sa.column("total", sa.Numeric),
    sa.column("stale_since", Moment),
)

# Only of the days that a window may need: from `report_windows.first_day` of 0 days on. Rows of earlier
# days are not deleted yet.
customer_daily = sa.Table(
    "customer_daily",
    metadata,
    sa.Column("customer_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("orders", sa.BigInteger, nullable=False),
    sa.Column("total", sa.Numeric, nullable=False),
    sa.Index("ix_customer_daily_day_customer_id", "day", "customer_id"),
    postgresql_with={"fillfactor": 80},
)

# `ranked` is a copy of the total for customers that may come to be among the first
# (`report_windows.floor`), and null for all others. Only it is indexed, so that most changes of a total
# change no index.
customer_totals = sa.Table(
    "customer_totals",
    metadata,
    sa.Column("customer_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("orders", sa.BigInteger, nullable=False),
    sa.Column("total", sa.Numeric, nullable=False),
    sa.Column("ranked", sa.Numeric),
    sa.Index(
        "ix_customer_totals_ranked",
        sa.text("ranked DESC"),
        "customer_id",
        postgresql_where=sa.text("ranked IS NOT NULL"),
    ),
    postgresql_with={"fillfactor": 80},
)

# The same for each bounded window of the reports, by its number of days.
customer_windows = sa.Table(
    "customer_windows",
    metadata,
    sa.Column("days", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("customer_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("orders", sa.BigInteger, nullable=False),
    sa.Column("total", sa.Numeric, nullable=False),
    sa.Column("ranked", sa.Numeric),
    sa.Index(
        "ix_customer_windows_ranked",
        "days",
        sa.text("ranked DESC"),
        "customer_id",
        postgresql_where=sa.text("ranked IS NOT NULL"),
    ),
    postgresql_with={"fillfactor": 80},
)

# Where each window begins: it is the sum of all of `customer_daily` from this day and customer on.
# Customers with at least `floor` are ranked in it; all customers, if that is null. 0 days means no
# bound: that window is all of `customer_totals`, and its first day is the first of `customer_daily`.
report_windows = sa.Table(
    "report_windows",
    metadata,
    sa.Column("days", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("first_day", sa.Date, nullable=False),
    sa.Column("first_customer", sa.BigInteger, nullable=False),
    sa.Column("floor", sa.Numeric),
)

uncounted_statuses = sa.Table(
    "uncounted_statuses",
    metadata,
    sa.Column("status", sa.Text, primary_key=True),
)

# Comparisons of the rollups with the orders table, and the progress of each.
rollup_checks = sa.Table(
    "rollup_checks",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    # The new excluded statuses, if they were changed. Differences are then expected, and are no drift.
    sa.Column("statuses", ARRAY(sa.Text)),
    sa.Column("started_at", Moment, nullable=False, server_default=NOW),
    sa.Column("moved_at", Moment, nullable=False, server_default=NOW),
    sa.Column("finished_at", Moment),
    # The first customer that is not compared yet; null at the end.
    sa.Column("next_customer", sa.BigInteger),
    sa.Column("orders", sa.BigInteger, nullable=False, server_default=ZERO),
    sa.Column("customers", sa.BigInteger, nullable=False, server_default=ZERO),
    # The number of wrong rows of each rollup.
    sa.Column("customer_daily", sa.BigInteger, nullable=False, server_default=ZERO),
    sa.Column("customer_totals", sa.BigInteger, nullable=False, server_default=ZERO),
    sa.Column("customer_windows", sa.BigInteger, nullable=False, server_default=ZERO),
)

# The tokens of the gateway. Of each only a hash is stored.
api_tokens = sa.Table(
    "api_tokens",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("scopes", ARRAY(sa.Text), nullable=False),
    # Requests a second; null means the gateway's default.
    sa.Column("rate", sa.Float),
    sa.Column("created_at", Moment, nullable=False, server_default=NOW),
    sa.Column("revoked_at", Moment),
    sa.CheckConstraint("rate > 0", name="rate"),
)

# The entries of beat: task and period, a changed period, the slot that was run last, and its outcome.
# Beat writes the first, commands and the gateway write the second, workers the rest.
beat_runs = sa.Table(
    "beat_runs",
    metadata,
    sa.Column("entry", sa.Text, primary_key=True),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("configured", sa.Interval, nullable=False),
    # Used instead of `configured` if it was changed.
    sa.Column("every", sa.Interval),
    sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
    # Since when it has its present period: no earlier slot can be missed.
    sa.Column("since", Moment, nullable=False, server_default=NOW),
    sa.Column("slot_at", Moment),
    # The id of the message that claimed the slot.
    sa.Column("claimed_by", sa.Text),
    sa.Column("started_at", Moment),
    sa.Column("succeeded_at", Moment),
    sa.Column("failed_at", Moment),
    sa.Column("error", sa.Text),
    sa.Column("runs", sa.BigInteger, nullable=False, server_default=ZERO),
    sa.CheckConstraint("configured > interval '0'", name="configured"),
    sa.CheckConstraint("every > interval '0'", name="every"),
)
