"""Loading: from a chunk's bytes to rows in the database, in bulk.

All of it runs in a worker's pool child. polars starts threads when it is imported, and a fork inherits
none of them: so only `chunk_loader` and `planner` import this package, when they have a file to load.

`load_chunk` runs the stages in order: `parse` and `validate` turn text into valid rows and rejects,
`write_rows` writes the rows. `strict` loads all of a file or nothing, `dry_run` only reports the effect.
"""
