"""Server-sent events: each source is polled once and sent to all clients that follow it."""
