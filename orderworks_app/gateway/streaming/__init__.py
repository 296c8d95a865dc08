"""Server-sent events: what is polled once and sent to every client that follows it."""
