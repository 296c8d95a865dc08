"""Appends of updates: what is sent when, over connections of our own."""
