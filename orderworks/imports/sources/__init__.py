"""The kinds of sources, and how each becomes a stream of plain CSV or JSON Lines.

`orderworks.imports.source` tells the story; every module here is one step of it.
"""
