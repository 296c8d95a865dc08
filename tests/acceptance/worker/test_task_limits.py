"""The time limits of tasks, compared with the broker's visibility timeout."""

import pytest
from celery import Celery

from orderworks.core.routing import TaskName
from orderworks.core.settings import Settings


@pytest.fixture(scope="module")
def app(settings: Settings) -> Celery:
    """The app of a worker, with its tasks."""
    from worker.celery import app as made  # noqa: PLC0415 - reads the environment

    made.loader.import_default_modules()
    return made


def test_plan_task_has_a_longer_time_limit(app: Celery) -> None:
    plan = app.tasks[TaskName.PLAN_IMPORT]
    assert app.conf.task_soft_time_limit < plan.soft_time_limit


@pytest.mark.parametrize("name", TaskName)
def test_task_hard_limit_is_below_visibility_timeout(app: Celery, name: TaskName) -> None:
    task, conf = app.tasks[name], app.conf
    soft = task.soft_time_limit or conf.task_soft_time_limit
    hard = task.time_limit or conf.task_time_limit
    assert soft < hard < conf.broker_transport_options["visibility_timeout"]
