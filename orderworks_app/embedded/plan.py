"""The services that a stack runs: those whose address the user did not set."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from orderworks.core.errors import ConfigurationError
from orderworks.core.settings import Settings
from orderworks_app.embedded import own_services, postgresql, valkey
from orderworks_app.embedded.home import Home
from orderworks_app.embedded.passwords import Passwords
from orderworks_app.embedded.ports import LOOPBACK, port_of
from orderworks_app.embedded.service import Service
from orderworks_app.embedded.unix_user import DataLocation

FLOWER_PORT, HIGHEST_PORT = 5555, 65_535
"""Flower's own default port; the highest port there is."""

SERVERS = frozenset({postgresql.NAME, valkey.VALKEY, valkey.CACHE})
"""The names of the servers among the services; the value of `only` for a stack without others."""


@dataclass(frozen=True)
class Plan:
    """The services of one stack, and the addresses at which it is reached.

    Attributes:
        moved: a sentence for each service whose usual port is taken, with its address.
    """

    services: list[Service]
    moved: list[str]
    environment: dict[str, str] = field(repr=False)
    admin_url: str | None = field(default=None, repr=False)


def make_plan(
    home: Home, location: DataLocation, passwords: Passwords, only: Collection[str] | None = None
) -> Plan:
    """The services to run, only those named in `only` if that is given.

    Call it after orphans are ended: the addresses in their state file would be taken for the user's.
    It creates PostgreSQL's cluster if that is planned and does not exist.
    """
    settings = Settings.load(orderworks_home=home.folder)
    external = _external_addresses(settings, passwords)
    listening = {name for name in _embedded(external) if only is None or name in only}
    usual = {name: port for name, port in _usual_ports(settings).items() if name in listening}
    ports = {name: port_of(home, name, usual.get(name, 0)) for name in sorted(listening)}
    # The spool is set too: an app that runs in another folder has to use the same one.
    environment = {**_addresses(ports, passwords), **external, "SPOOL_URL": settings.spool}
    planned = _servers(home, location, passwords, ports)
    planned += own_services.own_services(home, environment, ports)
    admin = postgresql.NAME in ports
    return Plan(
        [service for service in planned if only is None or service.name in only],
        _moved(usual, ports),
        environment,
        postgresql.admin_url(ports[postgresql.NAME], passwords) if admin else None,
    )


def _usual_ports(settings: Settings) -> dict[str, int]:
    """The ports at which users expect these services; 0 for any port."""
    return {own_services.GATEWAY: settings.gateway_port, own_services.FLOWER: _flower_port()}


def _flower_port() -> int:
    """The port of FLOWER_PORT.

    It is no field of `Settings`: only the embedded stack reads it, and a cluster that has a service
    named `flower` sets the variable to an address in all other processes.
    """
    value = os.environ.get("FLOWER_PORT") or str(FLOWER_PORT)
    if not (value.isascii() and value.isdigit() and int(value) <= HIGHEST_PORT):
        raise ConfigurationError(f"FLOWER_PORT: {value!r} is not a port from 0 to {HIGHEST_PORT}")
    return int(value)


def _moved(usual: dict[str, int], ports: dict[str, int]) -> list[str]:
    return [
        f"Port {port} is taken: {name} is at http://{LOOPBACK}:{ports[name]}."
        for name, port in usual.items()
        if port not in (0, ports[name])
    ]


def _external_addresses(settings: Settings, passwords: Passwords) -> dict[str, str]:
    """The addresses that the user set, by environment or secret file."""
    values = {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "CACHE_REDIS_URL": settings.cache_redis_url,
        "CELERY_BROKER_URL": settings.celery_broker_url,
        "FLOWER_URL": settings.flower_url,
        "FLOWER_BASIC_AUTH": os.environ.get("FLOWER_BASIC_AUTH"),
        "GATEWAY_URL": settings.gateway_url,
    }
    given = {name: value for name, value in values.items() if value}
    earlier = _of_earlier_run(given, passwords)
    return {name: value for name, value in given.items() if name not in earlier}


def _of_earlier_run(given: Mapping[str, str], passwords: Passwords) -> set[str]:
    """The names of this home's own addresses, which `orderworks env` set in the user's shell.

    Its passwords distinguish them. Nothing listens there now: no stack runs in this home.
    """
    own = (passwords.postgresql, passwords.valkey, passwords.cache, passwords.flower)
    names = {name for name, value in given.items() if any(secret in value for secret in own)}
    return names | {"FLOWER_URL", "GATEWAY_URL"} if "FLOWER_BASIC_AUTH" in names else names


def _embedded(external: Collection[str]) -> set[str]:
    """The listening services that the stack has to run."""
    embedded = {
        postgresql.NAME: "DATABASE_URL" not in external,
        valkey.VALKEY: "REDIS_URL" not in external,
        valkey.CACHE: not {"REDIS_URL", "CACHE_REDIS_URL"} & set(external),
        own_services.FLOWER: "FLOWER_URL" not in external,
        own_services.GATEWAY: "GATEWAY_URL" not in external,
    }
    return {name for name, is_embedded in embedded.items() if is_embedded}


def _addresses(ports: dict[str, int], passwords: Passwords) -> dict[str, str]:
    addresses = {}
    if port := ports.get(postgresql.NAME):
        addresses["DATABASE_URL"] = postgresql.database_url(port, passwords)
    if port := ports.get(valkey.VALKEY):
        url = valkey.redis_url
        addresses["REDIS_URL"] = url(port, passwords.valkey, valkey.STREAM_NUMBER)
        addresses["CELERY_BROKER_URL"] = url(port, passwords.valkey, valkey.BROKER_NUMBER)
    if port := ports.get(valkey.CACHE):
        addresses["CACHE_REDIS_URL"] = valkey.redis_url(port, passwords.cache)
    if port := ports.get(own_services.FLOWER):
        addresses["FLOWER_URL"] = f"http://{LOOPBACK}:{port}"
        addresses["FLOWER_BASIC_AUTH"] = f"orderworks:{passwords.flower}"
    if port := ports.get(own_services.GATEWAY):
        addresses["GATEWAY_URL"] = f"http://{LOOPBACK}:{port}"
    return addresses


def _servers(
    home: Home, location: DataLocation, passwords: Passwords, ports: dict[str, int]
) -> list[Service]:
    servers = []
    if port := ports.get(postgresql.NAME):
        servers.append(postgresql.postgresql_service(location, port, passwords))
    if port := ports.get(valkey.VALKEY):
        servers.append(valkey.valkey_service(home, port, passwords.valkey))
    if port := ports.get(valkey.CACHE):
        servers.append(valkey.cache_service(home, port, passwords.cache))
    return servers
