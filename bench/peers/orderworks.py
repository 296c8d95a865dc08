"""Orderworks' own sender, an update a call. Its workers are those of the stack."""

from bench.peers.sending import send_each
from producer import OrderUpdate, Producer


def main() -> None:
    """Send the updates of the file."""
    with Producer.from_settings() as producer:

        def send(order_id: int, total: str, version: int) -> None:
            producer.update(OrderUpdate(order_id=order_id, total=total, version=version))

        send_each(send)


if __name__ == "__main__":
    main()
