"""Real servers on a bare machine: PostgreSQL and Valkey from wheels, and the supervisor of `up`.

`stack` is the way in: `running_stack` for tests and the demo, `temporary_stack` for throw-away data.
`home` and `accounts` say where things lie and who owns them, `postgresql`, `valkey` and `celery_parts`
say what is run, `supervisor` keeps it running.
"""
