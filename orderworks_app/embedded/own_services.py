"""Services that run the project's own commands: migrations, workers, beat, Flower, gateway."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import orderworks
from orderworks.core.routing import Queue
from orderworks.core.settings import Settings
from orderworks_app.embedded import health
from orderworks_app.embedded.home import Home, make_folder
from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.embedded.process import HOME_VARIABLE, SERVICE_VARIABLE
from orderworks_app.embedded.service import Service, StartStage

MIGRATIONS, BEAT, FLOWER, GATEWAY = "migrations", "beat", "flower", "gateway"
WORKERS = {
    "updates": (Queue.UPDATES, Queue.REPORTS, Queue.UPKEEP),
    "imports": (Queue.IMPORTS,),
}
"""Two of them, so that an update never waits behind a chunk of an import."""

CELERY = (sys.executable, "-m", "celery", "--app", "worker")
ALONE = ("--without-gossip", "--without-mingle")
"""Options of a worker that does not listen to others: nothing here needs it, and Celery's listener can
fail when the broker goes."""
FLOWER_TASKS = "--max_tasks=10000"  # Its default is ten times that: hundreds of MB.
INFO = "--loglevel=INFO"  # At a higher level, neither worker nor beat logs that it is ready.


def own_services(
    home: Home, addresses: Mapping[str, str], ports: Mapping[str, int]
) -> list[Service]:
    """The services that run the project's own code against `addresses`.

    Flower and the gateway are among them if they have a port.
    """
    services = [_migrations(home, addresses)]
    services += [_worker(home, addresses, name, queues) for name, queues in WORKERS.items()]
    services += [_beat(home, addresses)]
    listening = {FLOWER: _flower, GATEWAY: _gateway}
    return services + [
        make(home, addresses, ports[name]) for name, make in listening.items() if name in ports
    ]


def worker_name(name: str) -> str:
    """The name of the service that runs one of `WORKERS`."""
    return f"worker-{name}"


def _migrations(home: Home, addresses: Mapping[str, str]) -> Service:
    return Service(
        name=MIGRATIONS,
        stage=StartStage.MIGRATIONS,
        command=(sys.executable, "-m", "orderworks_app", "db", "upgrade"),
        command_mark="orderworks",
        is_healthy=health.never,
        environment=_environment(home, addresses, MIGRATIONS),
        folder=_folder(home),
        deadline=3600,
        stop_timeout=3,
        one_shot=True,
    )


def _worker(
    home: Home, addresses: Mapping[str, str], name: str, queues: tuple[Queue, ...]
) -> Service:
    """A worker that returns its unfinished messages when it is stopped, instead of finishing them."""
    named = ("worker", "-Q", ",".join(queues), "-n", f"{name}@%h", "--concurrency", "2", INFO)
    arguments = (*named, *ALONE)
    service = worker_name(name)
    return Service(
        name=service,
        stage=StartStage.SERVICES,
        command=(*CELERY, *arguments),
        command_mark="celery",
        is_healthy=health.logs_phrase(" ready."),
        environment={**_environment(home, addresses, service), "REMAP_SIGTERM": "SIGQUIT"},
        folder=_folder(home),
        stop_timeout=14,
    )


def _beat(home: Home, addresses: Mapping[str, str]) -> Service:
    return Service(
        name=BEAT,
        stage=StartStage.SERVICES,
        command=(*CELERY, "beat", INFO),
        command_mark="celery",
        is_healthy=health.logs_phrase("beat: Starting"),
        environment=_environment(home, addresses, BEAT),
        folder=_folder(home),
    )


def _flower(home: Home, addresses: Mapping[str, str], port: int) -> Service:
    """Flower in read-only mode, unless the user sets FLOWER_READ_ONLY=false."""
    environment = {"FLOWER_READ_ONLY": "true", **_environment(home, addresses, FLOWER)}
    return Service(
        name=FLOWER,
        stage=StartStage.SERVICES,
        command=(*CELERY, "flower", f"--address={LOOPBACK}", f"--port={port}", FLOWER_TASKS),
        command_mark="celery",
        is_healthy=health.serves(f"http://{LOOPBACK}:{port}/healthcheck"),
        environment=environment,
        folder=_folder(home),
        address=f"http://{LOOPBACK}:{port}",
    )


def _gateway(home: Home, addresses: Mapping[str, str], port: int) -> Service:
    arguments = ("gateway", "--host", LOOPBACK, "--port", str(port))
    return Service(
        name=GATEWAY,
        stage=StartStage.SERVICES,
        command=(sys.executable, "-m", "orderworks_app", *arguments),
        command_mark="orderworks",
        is_healthy=health.serves(f"http://{LOOPBACK}:{port}/healthz"),
        environment=_environment(home, addresses, GATEWAY),
        folder=_folder(home),
        address=f"http://{LOOPBACK}:{port}",
    )


def _environment(home: Home, addresses: Mapping[str, str], service: str) -> dict[str, str]:
    """The user's environment with the stack's addresses.

    The project's own modules come first on PYTHONPATH: the user's folder may have a `tasks.py` too.
    """
    root = str(Path(orderworks.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    own = {HOME_VARIABLE: str(home.folder), SERVICE_VARIABLE: service}
    run = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **_absolute_secret_files(), **addresses, **own, **run}


def _absolute_secret_files() -> dict[str, str]:
    """Absolute paths of `DATABASE_URL_FILE` and its like: the services run in another folder."""
    names = (f"{name.upper()}_FILE" for name in Settings.model_fields)
    return {name: str(Path(os.environ[name]).absolute()) for name in names if name in os.environ}


def _folder(home: Home) -> Path:
    """An empty folder: Celery imports from its working directory, where any folder is a package."""
    folder = home.folder / "run"
    make_folder(folder)
    return folder
