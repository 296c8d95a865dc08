"""`orderworks reshard`: spread the updates over another number of shards."""

from typing import Annotated

import typer

from orderworks.core.database import make_engine
from orderworks.core.redis import make_redis
from orderworks.core.settings import Settings
from orderworks.updates.resharding import Resharding
from orderworks_app.terminal import print_sentence


def reshard(
    shards: Annotated[int, typer.Argument(min=1, max=1024, help="How many there are to be.")],
    timeout: Annotated[
        float, typer.Option(min=0, help="Seconds to wait until all that waits is applied.")
    ] = 60,
) -> None:
    """Spread the updates over another number of shards, while the system runs.

    Workers have to be running, to apply what waits. Producers get Backpressure meanwhile, and a
    configuration error from then on, until they are started with the new UPDATE_SHARDS. Interrupted, do
    it again; or undo it, with the old number.

    Exit status: 0 done; 1 nothing is changed; 2 wrong usage.
    """
    settings = Settings.load()
    with make_redis(settings.stream, settings.redis_timeout) as client:
        resharding = Resharding(make_engine(settings, "orderworks-cli"), client, settings)
        before = resharding.run(shards, timeout)
    if before.shards == shards:
        print_sentence(f"The updates are spread over {shards} shards, as they were.")
        return
    print_sentence(
        f"The updates are spread over {shards} shards, not over {before.shards} any more."
    )
    print_sentence(f"Set UPDATE_SHARDS={shards} everywhere, and start workers and producers again.")
