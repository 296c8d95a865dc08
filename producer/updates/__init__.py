"""Appends of updates to the streams, over connections of our own."""
