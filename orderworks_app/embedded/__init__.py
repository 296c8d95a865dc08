"""Real servers on a bare machine: PostgreSQL and Valkey from wheels, and the supervisor of `up`.

`stack` is the way in: `running_stack` for tests and the demo, `temporary_stack` for data that are
thrown away. `home` and `accounts` say where things lie and whose they are; `plan` says which parts
there are, `postgresql`, `valkey` and `services` what they run; `supervisor` keeps them running.
"""
