"""Addresses of PostgreSQL: several hosts, and the parameters of the URL."""

from typing import Any

import pytest
import sqlalchemy as sa

from orderworks.core.database import database_address, make_engine, shown_address
from orderworks.core.errors import ConfigurationError
from orderworks.core.settings import Settings
from orderworks_app.gateway.backends.database_pool import address


def driver_arguments(url: str) -> dict[str, Any]:
    """The arguments with which the driver connects."""
    address = database_address(url)
    dialect: Any = address.get_dialect()()
    return {**dialect.create_connect_args(address)[1]}


@pytest.mark.parametrize(
    ("hosts", "names", "ports"),
    [
        ("one:5432,two:5433", "one,two", "5432,5433"),
        ("one,two", "one,two", "5432,5432"),
        ("[::1]:7,[::2]", "::1,::2", "7,5432"),
    ],
)
def test_first_of_several_hosts_that_accepts_writes_is_used(
    hosts: str, names: str, ports: str
) -> None:
    url = f"postgresql://me:p%40w@{hosts}/shop?sslmode=require"
    assert driver_arguments(url) == {
        "host": names,
        "port": ports,
        "user": "me",
        "password": "p@w",
        "dbname": "shop",
        "sslmode": "require",
        "target_session_attrs": "read-write",
    }


def test_session_attributes_of_the_url_are_kept() -> None:
    url = "postgresql://me@one,two/shop?target_session_attrs=any"
    assert driver_arguments(url)["target_session_attrs"] == "any"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@one:7,two/shop", "one:7,two:5432/shop"),
        ("postgres://me:pw@one/shop", "one:5432/shop"),
        ("postgresql:///shop?host=/run/postgresql", "/run/postgresql:5432/shop"),
        ("postgresql:///shop", "localhost:5432/shop"),
    ],
)
def test_address_is_shown_without_its_login(url: str, shown: str) -> None:
    assert shown_address(url) == shown


def test_gateway_gets_the_same_hosts_and_no_parameters_of_libpq() -> None:
    url = "postgresql://me@one:7,two/shop?keepalives_idle=3&options=-c%20a.b%3D1"
    assert address(Settings.load(database_url=url)) == (
        "postgresql://me@/shop?host=one%2Ctwo&options=-c+a.b%3D1&port=7%2C5432"
        "&target_session_attrs=read-write"
    )


def test_gateway_refuses_channel_binding_that_it_cannot_require() -> None:
    url = "postgresql://me@one/shop?channel_binding=require"
    with pytest.raises(ConfigurationError, match="DATABASE_URL: .* leave it out"):
        address(Settings.load(database_url=url))


def test_options_of_the_url_are_kept_before_ours() -> None:
    options: list[str] = []
    engine = make_engine(
        Settings.load(database_url="postgresql://me@one/shop?options=-c%20search_path%3Dshop"), "x"
    )

    @sa.event.listens_for(engine, "do_connect")
    def stop(_dialect: object, _record: object, _args: object, parameters: dict[str, str]) -> None:
        options.append(parameters["options"])
        raise ConfigurationError("it is not to connect")

    with pytest.raises(ConfigurationError):
        engine.connect()
    assert options[0].startswith("-c search_path=shop -c timezone=UTC ")
