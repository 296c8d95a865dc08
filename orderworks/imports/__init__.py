"""Imports: from a file of customers or orders to rows in the database, none lost and none silent.

`source` (with `sources/`) reads what a producer hands over, `spool` keeps it. `flow` leads it through
the workers: `plan` cuts it, `claims` says whose a chunk is, `loading/` loads it, `ledger` and `progress`
tell how far it is. `control` and `rejects` are for people.

Nothing is imported here, because producers are light.
"""
