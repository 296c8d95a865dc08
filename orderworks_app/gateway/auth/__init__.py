"""Tokens of clients: the table, a cache of it, and rate limits."""
