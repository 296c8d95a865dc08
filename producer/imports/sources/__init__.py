"""Sources of imports, each converted to a stream of uncompressed CSV or JSON Lines.

The entry is `open_source`; the other modules are its steps.
"""
