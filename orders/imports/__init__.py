"""Imports: from a file of customers or orders to rows in the database, none lost and none silent.

Nothing is imported here: `source`, `spool` and `progress` serve producers, which are light;
`parse`, `validate` and `load` use polars, which only a worker's pool child may load.
"""
