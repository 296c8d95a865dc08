"""The outbox: updates that an application enqueues in a database transaction of its own.

from orderworks import outbox

with engine.begin() as connection:
    connection.execute(...)  # the application's own work
    outbox.enqueue(connection, [OrderUpdate(order_id=42, status="paid")])
"""

from orderworks.updates.outbox import enqueue

__all__ = ["enqueue"]
