"""Logs: an event name and fields, one line each; JSON unless a person is watching a terminal."""

import logging
import logging.config
import sys
from typing import Any, cast

import msgspec
import structlog
from celery import Task
from celery.signals import setup_logging, task_postrun, task_prerun

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def connect() -> None:
    """Take logging over from Celery, and let every line of a task name the task."""
    setup_logging.connect(_on_setup_logging)
    task_prerun.connect(_bind_task)
    task_postrun.connect(_unbind_task)


def configure(level: int = logging.INFO) -> None:
    """Send the lines of structlog and of `logging` alike to standard error."""
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer()],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)


def lines(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger for lines that come by the thousand: the same lines, at a quarter of the cost.

    What handlers and levels of `logging` say does not concern it.
    """
    logger = structlog.wrap_logger(
        _StandardError(),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else _encoded,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    return cast("structlog.typing.FilteringBoundLogger", logger.bind(logger=name))


def _encoded(_logger: object, _name: str, event: structlog.typing.EventDict) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


class _StandardError:
    """Writes each line in one go to what is standard error then."""

    def info(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")


def _renderer() -> structlog.typing.Processor:
    if sys.stderr.isatty():
        return structlog.dev.ConsoleRenderer()
    return structlog.processors.JSONRenderer()


def _on_setup_logging(loglevel: int | None = None, **_: object) -> None:
    configure(loglevel or logging.INFO)


def _bind_task(task_id: str, task: Task[..., object], **_: object) -> None:
    structlog.contextvars.bind_contextvars(task_id=task_id, task=task.name)


def _unbind_task(**_: object) -> None:
    structlog.contextvars.clear_contextvars()
