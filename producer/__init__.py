"""The producer, for applications: `Producer`, `AsyncProducer`, `OrderUpdate`, and their errors.

    from producer import OrderUpdate, Producer

    with Producer.from_settings() as producer:
        producer.update(OrderUpdate(order_id=42, total="19.99", status="paid"))

The import loads neither SQLAlchemy nor polars, and opens no connection. Threads may share a producer.
"""

from orderworks.core.errors import (
    Backpressure,
    ConfigurationError,
    InvalidFile,
    InvalidInput,
    InvalidUpdate,
    NotDurable,
    OrderworksError,
    PartlyAccepted,
    Unavailable,
    WaitTimeout,
)
from orderworks.updates.messages import OrderUpdate, Verdict
from producer.async_client import AsyncProducer
from producer.client import Producer
from producer.imports.job import ImportJob
from producer.receipts import AsyncReceipt, Receipt

__all__ = [
    "AsyncProducer",
    "AsyncReceipt",
    "Backpressure",
    "ConfigurationError",
    "ImportJob",
    "InvalidFile",
    "InvalidInput",
    "InvalidUpdate",
    "NotDurable",
    "OrderUpdate",
    "OrderworksError",
    "PartlyAccepted",
    "Producer",
    "Receipt",
    "Unavailable",
    "Verdict",
    "WaitTimeout",
]
