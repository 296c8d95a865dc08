"""The time limits of tasks, compared with the broker's visibility timeout."""

import pytest
from celery import Celery

from orderworks.core.routing import TaskName


def test_plan_task_has_a_longer_time_limit(celery_app: Celery) -> None:
    plan = celery_app.tasks[TaskName.PLAN_IMPORT]
    assert celery_app.conf.task_soft_time_limit < plan.soft_time_limit


@pytest.mark.parametrize("name", TaskName)
def test_task_hard_limit_is_below_visibility_timeout(celery_app: Celery, name: TaskName) -> None:
    task, conf = celery_app.tasks[name], celery_app.conf
    soft = task.soft_time_limit or conf.task_soft_time_limit
    hard = task.time_limit or conf.task_time_limit
    assert soft < hard < conf.broker_transport_options["visibility_timeout"]
