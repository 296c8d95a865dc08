"""Logging by Celery's signals: our configuration, and the task's id and name in every line."""

import logging

import structlog
from celery import Task
from celery.signals import setup_logging, task_postrun, task_prerun

from orderworks.core.logging import configure


def connect() -> None:
    """Configure logging in place of Celery, and add a task's id and name to every line it logs."""
    setup_logging.connect(_on_setup_logging)
    task_prerun.connect(_bind_task)
    task_postrun.connect(_unbind_task)


def _on_setup_logging(loglevel: int | None = None, **_: object) -> None:
    configure(loglevel or logging.INFO)


def _bind_task(task_id: str, task: Task[..., object], **_: object) -> None:
    structlog.contextvars.bind_contextvars(task_id=task_id, task=task.name)


def _unbind_task(**_: object) -> None:
    structlog.contextvars.clear_contextvars()
