"""Spans of time as people say them."""


def span(seconds: float) -> str:
    """`3 s`, `2 min`, `5 h`, `4 d`: in the largest unit of which there are two."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
