"""Parked updates of tests."""

import sqlalchemy as sa

from orderworks.core.schema import parked_updates


def make_parked_due(engine: sa.Engine) -> None:
    """Make all parked updates due now."""
    with engine.begin() as connection:
        connection.execute(sa.update(parked_updates).values(next_attempt_at=sa.func.now()))
