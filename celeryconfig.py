"""Celery's settings as a table: every setting that differs from Celery's default, with its reason.

Read by `app.config_from_object("celeryconfig")`, so `celery -A worker …` uses it unchanged.
"""

from typing import Any

from kombu import Exchange
from kombu import Queue as KombuQueue

from orderworks.core.routing import QUEUE_OF, Queue
from orderworks.core.settings import Settings
from worker.amqp_frames import FrameHandler
from worker.beat.schedule import make_schedule

settings = Settings.load()

# --- Broker -------------------------------------------------------------------------------------
broker_url = settings.broker
broker_connection_retry_on_startup = True  # a worker may start before its broker
broker_connection_max_retries = None  # and waits for as long as the broker is unavailable
broker_channel_error_retry = True  # a broker that is out of memory is an error that passes
broker_transport_options: dict[str, Any] = {
    "visibility_timeout": 300,  # above task_time_limit: no task is redelivered while it runs
    "unacked_restore_interval": 5,  # restore messages of dead workers every 5 s …
    "unacked_restore_throttle": 1,  # … each time, not every tenth
    "socket_timeout": 10,  # seconds: every call to the broker has a limit
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,  # notices a half-open link
    "frame_handler": FrameHandler,  # RabbitMQ: unreadable headers cost their message only
}
broker_heartbeat = 10  # seconds; RabbitMQ: a connection on which nothing arrives is replaced
task_publish_retry_policy = {  # bounded: a request that enqueues must not hang
    "max_retries": 3,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 1,
}

# --- Messages -----------------------------------------------------------------------------------
task_serializer = "json"
accept_content = ["json"]  # anything else would allow the broker's users to run code here
result_accept_content = ["json"]
task_ignore_result = True  # results are in PostgreSQL
result_backend = None
task_default_queue = Queue.UPKEEP.value
task_queues = [KombuQueue(name, Exchange(name), routing_key=name) for name in map(str, Queue)]
task_create_missing_queues = False  # a misspelt queue is an error; nothing would consume it
task_routes = {task.value: {"queue": queue.value} for task, queue in QUEUE_OF.items()}

# --- Delivery: at least once, and every task may run twice ----------------------------------------
task_acks_late = True  # a message leaves the broker after its work
task_reject_on_worker_lost = True  # a killed child's message is delivered again …
task_retry_on_worker_lost = True  # … up to the task's max_retries, not in a loop
worker_prefetch_multiplier = 1  # no idle child while another one's messages wait
worker_cancel_long_running_tasks_on_connection_loss = True  # the message is redelivered; stop here
task_soft_time_limit = 100  # seconds; raises in the task
task_time_limit = 120  # seconds; kills the child. Below visibility_timeout

# --- Workers ------------------------------------------------------------------------------------
worker_consumer = "worker.consumer:Consumer"  # a malformed message must not end the process
worker_soft_shutdown_timeout = 10  # with REMAP_SIGTERM=SIGQUIT: finish for so long, then hand back
worker_enable_soft_shutdown_on_idle = False
worker_max_tasks_per_child = 2000  # a leak anywhere stays small
worker_max_memory_per_child = 600_000  # KiB; replaced after the task that crossed it
worker_send_task_events = True  # Flower shows what runs
task_send_sent_event = True
worker_hijack_root_logger = False  # orderworks/core/logging.py owns logging
imports = ("tasks.updates", "tasks.imports", "tasks.reports", "tasks.rollups", "tasks.upkeep")

# --- Beat ---------------------------------------------------------------------------------------
beat_scheduler = "worker.beat.scheduler.Scheduler"  # any number of beats; one leads
beat_max_loop_interval = 2  # seconds at most between two ticks
beat_schedule = make_schedule(settings)
