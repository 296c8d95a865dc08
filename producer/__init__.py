"""What an app imports to hand over work: `Producer`, `OrderUpdate`, and the errors they raise.

    from producer import OrderUpdate, Producer

    with Producer.from_settings() as producer:
        producer.update(OrderUpdate(order_id=42, total="19.99", status="paid"))

It loads neither SQLAlchemy nor polars, opens nothing on import, and may be shared by threads.
"""

from orders.errors import (
    Backpressure,
    ConfigurationError,
    InvalidFile,
    InvalidInput,
    InvalidUpdate,
    OrderworksError,
    PartlyAccepted,
    Unavailable,
    WaitTimeout,
)
from orders.messages import OrderUpdate
from producer.client import Producer
from producer.imports import ImportJob

__all__ = [
    "Backpressure",
    "ConfigurationError",
    "ImportJob",
    "InvalidFile",
    "InvalidInput",
    "InvalidUpdate",
    "OrderUpdate",
    "OrderworksError",
    "PartlyAccepted",
    "Producer",
    "Unavailable",
    "WaitTimeout",
]
