"""The option `max_rejects`: a number of rows, or a share of the file's rows, such as `10%`."""

import re
from decimal import Decimal

from orderworks.core.bounds import MAX_BIGINT
from orderworks.core.errors import InvalidInput

SHARE = r"^[0-9]{1,3}(\.[0-9]{1,6})?%$"
_NUMBER = re.compile("-?[0-9]{1,40}")


def read_max_rejects(text: str) -> int | str:
    """Return the number that the text has; any other text as it is."""
    return int(text) if _NUMBER.fullmatch(text) else text


def check_max_rejects(limit: int | str | None) -> None:
    """Raise InvalidInput unless the limit is a number that the ledger can hold, or a share."""
    if isinstance(limit, str) and not re.fullmatch(SHARE, limit):
        raise InvalidInput(
            f"max_rejects: {limit!r} is neither a number from 0 to 2^63 - 1 nor a share such as 10%"
        )
    if isinstance(limit, int) and not 0 <= limit <= MAX_BIGINT:
        raise InvalidInput(f"max_rejects: {limit} is not from 0 to 2^63 - 1")


def limit_of(max_rejects: int | str | None, rows: int) -> int | None:
    """Return the number of rejects that a file with these rows may have; None: any."""
    if not isinstance(max_rejects, str):
        return max_rejects
    return int(Decimal(max_rejects.removesuffix("%")) * rows / 100)
