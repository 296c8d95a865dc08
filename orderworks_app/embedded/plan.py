"""Which parts a stack has: those whose address the user did not give."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field

from orderworks.core.settings import Settings
from orderworks_app.embedded import postgresql, services, valkey
from orderworks_app.embedded.home import Home
from orderworks_app.embedded.passwords import Passwords
from orderworks_app.embedded.ports import LOOPBACK, port_of
from orderworks_app.embedded.service import Service
from orderworks_app.embedded.unix_user import DataLocation

SERVERS = frozenset({postgresql.NAME, valkey.VALKEY, valkey.CACHE})
"""The names of the parts that are servers: the `only` of whoever needs nothing else."""


@dataclass(frozen=True)
class Plan:
    """The parts of one stack, and the addresses at which it is reached."""

    services: list[Service]
    environment: dict[str, str] = field(repr=False)
    admin_url: str | None = field(default=None, repr=False)


def make_plan(
    home: Home, location: DataLocation, passwords: Passwords, only: Collection[str] | None = None
) -> Plan:
    """The parts to run, with only those named in `only` if that is given.

    Read after leftovers are cleared: a state file would pass for addresses that the user gave.
    Makes PostgreSQL's cluster if it is part of the plan and not there.
    """
    settings = Settings.load(orderworks_home=home.folder)
    given = _external_addresses(settings)
    wanted = {name for name in _embedded(given) if only is None or name in only}
    ports = {name: port_of(home, name) for name in sorted(wanted)}
    # The spool is named too: an app that runs in another folder has to use the same one.
    environment = {**_addresses(ports, passwords), **given, "SPOOL_URL": settings.spool}
    parts = _servers(home, location, passwords, ports)
    parts += services.own_services(home, environment, ports)
    admin = postgresql.NAME in ports
    return Plan(
        [part for part in parts if only is None or part.name in only],
        environment,
        postgresql.admin_url(ports[postgresql.NAME], passwords) if admin else None,
    )


def _external_addresses(settings: Settings) -> dict[str, str]:
    """The addresses that the user gave, by environment or secret file."""
    values = {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "CACHE_REDIS_URL": settings.cache_redis_url,
        "CELERY_BROKER_URL": settings.celery_broker_url,
        "FLOWER_URL": settings.flower_url,
        "FLOWER_BASIC_AUTH": os.environ.get("FLOWER_BASIC_AUTH"),
        "GATEWAY_URL": settings.gateway_url,
    }
    return {name: value for name, value in values.items() if value}


def _embedded(external: Collection[str]) -> set[str]:
    """The listening parts that are ours to run."""
    ours = {
        postgresql.NAME: "DATABASE_URL" not in external,
        valkey.VALKEY: "REDIS_URL" not in external,
        valkey.CACHE: not {"REDIS_URL", "CACHE_REDIS_URL"} & set(external),
        services.FLOWER: "FLOWER_URL" not in external,
        services.GATEWAY: "GATEWAY_URL" not in external,
    }
    return {name for name, is_ours in ours.items() if is_ours}


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
    if port := ports.get(services.FLOWER):
        addresses["FLOWER_URL"] = f"http://{LOOPBACK}:{port}"
        addresses["FLOWER_BASIC_AUTH"] = f"orderworks:{passwords.flower}"
    if port := ports.get(services.GATEWAY):
        addresses["GATEWAY_URL"] = f"http://{LOOPBACK}:{port}"
    return addresses


def _servers(
    home: Home, location: DataLocation, passwords: Passwords, ports: dict[str, int]
) -> list[Service]:
    parts = []
    if port := ports.get(postgresql.NAME):
        parts.append(postgresql.postgresql_service(location, port, passwords))
    if port := ports.get(valkey.VALKEY):
        parts.append(valkey.valkey_service(home, port, passwords.valkey))
    if port := ports.get(valkey.CACHE):
        parts.append(valkey.cache_service(home, port, passwords.cache))
    return parts
