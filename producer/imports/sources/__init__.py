"""The kinds of sources, and how each becomes a stream of plain CSV or JSON Lines.

`producer.imports.sources.open_source` tells the story; every module here is one step of it.
"""
