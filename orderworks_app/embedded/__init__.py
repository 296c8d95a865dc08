"""Real servers on a bare machine: PostgreSQL and Valkey from wheels, and the supervisor of `up`.

`stack` is the entry point: `running_stack` for tests and the demo, `temporary_stack` for data that
are deleted afterwards. `home` and `unix_user` decide where files are and which account owns them;
`plan` lists the services, `postgresql`, `valkey` and `services` define them; `supervisor` keeps them
running.
"""
