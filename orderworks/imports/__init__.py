"""Imports: from a file of customers or orders to rows in the database, none lost and none silent.

A producer uploads the file to the `spool`. In the workers, `planner` cuts it into chunks, `chunk_loader`
claims each by a `chunk_attempt` and loads it with `loading/`, and `finisher` ends the import. `ledger`
and `progress` store and publish its progress. `control` and `rejects` serve operators.

Nothing is imported here, so that a producer loads only the modules that it needs.
"""
