"""The Celery tasks: thin. Each takes a nudge, calls `orderworks/`, and says in a line what happened.

Every one may run twice, late, or at the same time as itself; none of that changes a result. What they
do not get done, the sweep finds again.
"""
