"""What stands behind the gateway: a pool of asyncpg, and threads for the blocking domain."""
