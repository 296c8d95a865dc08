"""Names that other processes, stored data and deployments rely on are unchanged.

`tests/golden/` has them. `ORDERWORKS_GOLDEN=write pytest tests/integration/test_surface*.py` rewrites
the files. A changed line there is a change for every running process and every existing database.
"""

import inspect
import re
import subprocess
from collections.abc import Iterator
from importlib import import_module
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
from annotated_types import BaseMetadata
from celery import Celery
from pydantic_core import PydanticUndefined

from orderworks.core import keys, routing
from orderworks.core.errors import ConfigurationError
from orderworks.core.settings import Settings
from orderworks_app.embedded.binaries import postgresql_binaries
from tests.support.golden import compare
from worker import heartbeat

KEY_MODULES = (keys,)
"""The modules that spell Redis keys."""

PSEUDO_SHARDS = (routing.OUTBOX, routing.INGEST)
"""Numbers that stand in keys and columns where a shard's does."""

APP = "worker.celery"
"""The module of the Celery app. It reads the environment when it is imported."""

SAMPLES: dict[str, Any] = {
    "customer_id": 7,
    "customer_ids": [7, 8],
    "entry_id": "5-6",
    "field": "FIELD",
    "fingerprint": "FINGERPRINT",
    "import_id": "IMPORT",
    "key": "KEY",
    "path": "PATH",
    "shard": 3,
    "token": "TOKEN",
    "window": "WINDOW",
}
"""An argument for each parameter of the functions that spell keys."""


def test_redis_keys_are_unchanged() -> None:
    found = {key for module in KEY_MODULES for key in keys_of(module)}
    numbers = {f"(pseudo shard) {number}" for number in PSEUDO_SHARDS}
    compare("redis_keys.txt", sorted(found | numbers))


def keys_of(module: ModuleType) -> Iterator[str]:
    """Its constants that begin as keys do, and what its functions make of the samples."""
    for name, value in vars(module).items():
        if name.isupper() and isinstance(value, str) and value.startswith("orders:"):
            yield value
    for _name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__:
            arguments = [SAMPLES[each] for each in inspect.signature(function).parameters]
            made = function(*arguments)
            yield from [made] if isinstance(made, str) else made


@pytest.fixture
def app(settings: Settings) -> Celery:
    """The app of a worker, configured as `celery -A worker` does it."""
    assert settings.broker
    made: Celery = import_module(APP).app
    made.loader.import_default_modules()
    return made


def test_celery_names_are_unchanged(app: Celery) -> None:
    facts = [*app_facts(app), *task_facts(app), *beat_facts(app)]
    compare("celery.txt", sorted(facts))


def app_facts(app: Celery) -> Iterator[str]:
    """Settings that a client needs to reach a queue and to be read."""
    for setting in ("task_serializer", "accept_content", "task_default_queue"):
        yield f"setting {setting}: {app.conf[setting]}"
    for queue in app.conf.task_queues:
        yield f"queue {queue.name}: exchange {queue.exchange.name}, routing key {queue.routing_key}"
    for task, route in app.conf.task_routes.items():
        yield f"route {task}: {route}"


def task_facts(app: Celery) -> Iterator[str]:
    """The arguments that the message of a task carries, and what is special in how it is sent."""
    for name, task in app.tasks.items():
        if not name.startswith("celery."):
            yield f"task {name}: takes {shape(task.run)}"
            yield f"task {name}: serializer {task.serializer}, ignores result {task.ignore_result}"


def shape(function: Any) -> str:  # noqa: ANN401 - any callable
    """The parameters of a function without their types."""
    parameters = inspect.signature(function).parameters.values()
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in parameters]
    return str(inspect.Signature(bare))


def beat_facts(app: Celery) -> Iterator[str]:
    """The entries, and what the headers of their messages hold."""
    for name, entry in app.conf.beat_schedule.items():
        yield f"beat {name}: task {entry['task']}"
        yield f"beat {name}: options {sorted(entry['options'])}"
        for header, value in entry["options"]["headers"].items():
            yield f"beat {name}: header {header} with {sorted(value)}"


def test_environment_variables_are_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = [fact for name in Settings.model_fields for fact in variable_facts(name, monkeypatch)]
    compare("environment.txt", sorted([*facts, f"{heartbeat.VARIABLE} (worker and beat)"]))


def variable_facts(name: str, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """A variable with its default and limits, and whether a file may hold it."""
    field, variable = Settings.model_fields[name], name.upper()
    assert field.default is not PydanticUndefined
    value = str(field.default) if isinstance(field.default, Path) else field.default
    limits = [str(each) for each in field.metadata if isinstance(each, BaseMetadata)]
    yield " ".join([f"{variable} = {value!r}", *sorted(limits)])
    with patch.context() as context:
        context.setenv(f"{variable}_FILE", "no such file")
        try:
            Settings.load()
        except ConfigurationError as error:
            if str(error).startswith(f"{variable}_FILE"):
                yield f"{variable}_FILE"


def test_the_schema_is_unchanged(settings: Settings) -> None:
    lines = [line for line in dump(settings.database) if not OF_PG_DUMP.match(line)]
    text = "\n".join(line for line, _same in groupby(lines))
    compare("schema.sql", text.strip().splitlines())


OF_PG_DUMP = re.compile(
    r"--$|-- (Name|Dumped|PostgreSQL)|\\|SET \w+ = |SELECT pg_catalog\.set_config"
)
"""Lines that do not describe the schema, or repeat the next one."""


def dump(url: str) -> list[str]:
    """The schema as SQL, without Alembic's own table."""
    options = ["--schema-only", "--no-owner", "--exclude-table=alembic_version"]
    done = subprocess.run(
        [postgresql_binaries(None) / "pg_dump", *options, url],
        capture_output=True,
        text=True,
        check=True,
        env={"PGPASSWORD": urlsplit(url).password or ""},
    )
    return [line.rstrip() for line in done.stdout.splitlines()]
