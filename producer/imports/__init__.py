"""Files that are handed over: read as text, written to the spool, announced."""
