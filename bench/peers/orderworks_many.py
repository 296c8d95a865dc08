"""Orderworks' own sender, with all updates in one call. Its workers are those of the stack."""

import os

from bench.peers.sending import UpdateTuple, send_all
from producer import OrderUpdate, Producer


def main() -> None:
    """Send the updates of the file."""
    addresses = {
        "redis_url": os.environ["ORDERS_STREAM_URL"],
        "broker_url": os.environ["ORDERS_BROKER_URL"],
    }
    with Producer(**addresses) as producer:

        def send(updates: list[UpdateTuple]) -> None:
            producer.update_many(
                OrderUpdate(order_id=order_id, total=total, version=version)
                for order_id, total, version in updates
            )

        send_all(send)


if __name__ == "__main__":
    main()
