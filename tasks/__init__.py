"""The Celery tasks. Each receives a nudge, makes one call into `orderworks/`, and returns a summary.

Every task may run twice, late, or concurrently with itself; none of that changes a result. The sweep
finds the work that a task left undone.
"""
