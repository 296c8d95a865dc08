"""The revisions of the schema, and the functions that run them."""
