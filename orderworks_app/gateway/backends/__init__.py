"""Access to the servers: asyncpg's pool for the event loop, blocking services for threads."""
