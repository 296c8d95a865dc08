"""A single update, from message to verdict."""
