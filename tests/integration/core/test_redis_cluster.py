"""A member of a Redis Cluster in place of a single server: it is named, and nothing is accepted."""

from collections.abc import Iterator

import pytest
import redis

from orderworks.core.errors import ConfigurationError
from orderworks.core.redis import check_single_server, make_redis, redis_unavailable
from orderworks.core.settings import Settings
from producer import OrderUpdate, Producer
from tests.support.servers import running_valkey

SENTENCE = "member of a Redis Cluster.*address of a single server"


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a member of a cluster, which has neither shard."""
    folder = tmp_path_factory.mktemp("cluster") / "valkey"
    with running_valkey(folder, "--cluster-enabled", "yes") as server:
        with make_redis(server.url, 5) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
            client.execute_command("CONFIG", "SET", "cluster-require-full-coverage", "no")
        yield server.url


def test_check_names_a_member_of_a_cluster(member: str, settings: Settings) -> None:
    with make_redis(member, 5) as client, pytest.raises(ConfigurationError, match=SENTENCE):
        check_single_server(client)
    with make_redis(settings.stream, 5) as client:
        check_single_server(client)


def test_producer_names_a_member_of_a_cluster(member: str, settings: Settings) -> None:
    with Producer(redis_url=member, broker_url=settings.broker) as producer:
        for order_id in (1, 2):
            with pytest.raises(ConfigurationError, match=SENTENCE):
                producer.update(OrderUpdate(order_id=order_id, total=1))


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.MovedError("9842 127.0.0.1:41512"),
        redis.exceptions.AskError("9842 127.0.0.1:41512"),
        redis.exceptions.ClusterCrossSlotError("Keys in request don't hash to the same slot"),
        redis.exceptions.ClusterDownError("Hash slot not served"),
        redis.exceptions.ResponseError("SELECT is not allowed in cluster mode"),
    ],
)
def test_error_of_a_cluster_is_named(error: redis.RedisError) -> None:
    named = redis_unavailable(error)
    assert isinstance(named, ConfigurationError)
    assert "single server" in str(named)
