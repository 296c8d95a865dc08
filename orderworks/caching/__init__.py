"""How `orderworks/cache.py` works inside: calls become fields, values bytes, reads steps without I/O."""
