"""Celery's settings: each one exists, and together they prevent avoidable loss of messages."""

from celery import Celery
from celery.app.defaults import DEFAULTS

from orderworks.core.routing import QUEUE_OF, Queue, TaskName

KEEPS_MESSAGES = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_retry_on_worker_lost": True,
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_create_missing_queues": False,
    "worker_prefetch_multiplier": 1,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
}

BOUNDED_WAITS = {
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "health_check_interval",
}


def test_every_setting_is_known_to_celery(celery_app: Celery) -> None:
    import celeryconfig  # noqa: PLC0415 - reads the environment

    named = {name for name in vars(celeryconfig) if name.islower() and name[0] != "_"}
    settings = named - {"settings", "make_schedule"}
    assert settings <= DEFAULTS.keys()
    assert len(settings) > 30, "they were read"
    assert {name: celery_app.conf[name] for name in settings} == {
        name: getattr(celeryconfig, name) for name in settings
    }


def test_settings_prevent_message_loss(celery_app: Celery) -> None:
    assert {name: celery_app.conf[name] for name in KEEPS_MESSAGES} == KEEPS_MESSAGES
    assert set(celery_app.conf.broker_transport_options) >= BOUNDED_WAITS


def test_task_time_limits_are_below_visibility_timeout(celery_app: Celery) -> None:
    visible_after = celery_app.conf.broker_transport_options["visibility_timeout"]
    assert celery_app.conf.task_soft_time_limit < celery_app.conf.task_time_limit < visible_after


def test_every_queue_is_declared_and_every_task_registered_and_routed(celery_app: Celery) -> None:
    assert set(celery_app.amqp.queues) == {queue.value for queue in Queue}
    assert {name for name in celery_app.tasks if not name.startswith("celery.")} == set(TaskName)
    for task in TaskName:
        assert celery_app.amqp.router.route({}, task.value)["queue"].name == QUEUE_OF[task]


def test_message_of_killed_child_is_retried_within_a_second_and_at_most_three_times(
    celery_app: Celery,
) -> None:
    for name in TaskName:
        assert celery_app.tasks[name].default_retry_delay <= 1
        assert celery_app.tasks[name].max_retries == 3


def test_beat_schedules_only_existing_tasks(celery_app: Celery) -> None:
    asked = {entry["task"] for entry in celery_app.conf.beat_schedule.values()}
    assert asked == {
        TaskName.REFRESH_TOP_CUSTOMERS,
        TaskName.CHECK_ROLLUPS,
        TaskName.SWEEP,
        TaskName.PURGE_EXPIRED,
    }
