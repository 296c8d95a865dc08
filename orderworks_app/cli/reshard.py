"""`orderworks reshard`: changes the number of shards of the update stream."""

from typing import Annotated

import typer


def reshard(
    shards: Annotated[int, typer.Argument(min=1, max=1024, help="New number of shards.")],
    timeout: Annotated[
        float, typer.Option(min=0, help="Seconds to wait until all waiting updates are applied.")
    ] = 60,
) -> None:
    """Change the number of shards of the update stream, while the system runs.

    Workers must be running, to apply the waiting updates. Producers get Backpressure meanwhile, and
    afterwards a configuration error until they are restarted with the new UPDATE_SHARDS. If it is
    interrupted, run it again, or with the old number to undo it.

    Exit status: 0 done; 1 nothing was changed; 2 wrong usage.
    """
    from orderworks.core.database import make_engine
    from orderworks.core.redis import make_redis
    from orderworks.core.settings import Settings
    from orderworks.updates.resharding import Resharding
    from orderworks_app.terminal import print_sentence

    settings = Settings.load()
    with make_redis(settings.stream, settings.redis_timeout) as client:
        resharding = Resharding(make_engine(settings, "orderworks-cli"), client, settings)
        before = resharding.run(shards, timeout)
    if before.shards == shards:
        print_sentence(f"The update stream already has {shards} shards: nothing was changed.")
        return
    print_sentence(f"The update stream has {shards} shards now; it had {before.shards}.")
    print_sentence(f"Set UPDATE_SHARDS={shards} on every host, and restart workers and producers.")
