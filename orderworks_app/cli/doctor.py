"""`orderworks doctor`: finds settings that can lose data or stop the work, before they do."""


def doctor() -> None:
    """Check the servers' settings and this configuration, with a remedy for each problem found.

    Exit status: 0 no problem; 1 some check failed, or a server is unavailable; 2 wrong configuration.
    """
    from orderworks_app.cli.actions.doctor import run_doctor

    run_doctor()
