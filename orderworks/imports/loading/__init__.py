"""Loading: from a chunk's bytes to rows in the database, in bulk.

All of it belongs to a worker's pool child. polars starts threads when it is imported, and a fork takes
none along: so `flow` imports this package only when it has a chunk to load, and nobody else does.

`parse` and `validate` turn text into good rows and rejects; `load` writes the rows; `chunk` leads
through both. `strict` loads a file as a whole or not at all, `rehearsal` only says what would be.
"""
