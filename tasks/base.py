"""How a task is declared here: by its enumerated name, with the options that are all spelled out."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import msgspec
from celery import Task

from orderworks.core.routing import TaskName
from tasks.guard import GuardedTask
from worker.celery import app

P = ParamSpec("P")
R = TypeVar("R")

RETRY_DELAY = 1
"""Seconds after which the message of a killed child is delivered again: by then PostgreSQL has ended
the dead child's session, and with it the locks that would send the next one away. Celery's own
default is three minutes."""


def task(
    name: TaskName,
    *,
    max_retries: int = 3,
    soft_time_limit: int | None = None,
    time_limit: int | None = None,
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Register a function as the task `name`.

    The limits are in seconds and, where they are given, stand in place of those of `celeryconfig`.
    Like those, they stay below the visibility timeout.

    `max_retries` bounds how often a message whose child was killed is delivered again; after that the
    sweep has to find the work. Celery takes any option silently, so only known ones are offered.

    Where beat asks for the task, it is run once a slot; see `GuardedTask`.
    """

    def register(function: Callable[P, R]) -> Task[P, R]:
        options: dict[str, Any] = {
            "base": GuardedTask,
            "max_retries": max_retries,
            "default_retry_delay": RETRY_DELAY,
            "soft_time_limit": soft_time_limit,
            "time_limit": time_limit,
        }
        decorate: Any = app.task(name=name.value, **options)
        registered: Any = decorate(function)
        return registered  # type: ignore[no-any-return]  # Celery's decorator is untyped

    return register


def summary(outcome: msgspec.Struct) -> dict[str, Any]:
    """A task's outcome as Flower and the log show it."""
    plain: dict[str, Any] = msgspec.to_builtins(outcome)
    return plain
