"""Orderworks' own sender, with one update per call. Its workers are those of the stack."""

import os

from bench.peers.sending import send_each
from producer import OrderUpdate, Producer


def main() -> None:
    """Send the updates of the file."""
    addresses = {
        "redis_url": os.environ["ORDERS_STREAM_URL"],
        "broker_url": os.environ["ORDERS_BROKER_URL"],
    }
    with Producer(**addresses) as producer:

        def send(order_id: int, total: str, version: int) -> None:
            producer.update(OrderUpdate(order_id=order_id, total=total, version=version))

        send_each(send)


if __name__ == "__main__":
    main()
