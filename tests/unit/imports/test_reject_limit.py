"""The option `max_rejects` as a number and as a share."""

import pytest

from orderworks.core.errors import InvalidInput
from orderworks.imports.reject_limit import check_max_rejects, limit_of, read_max_rejects


@pytest.mark.parametrize(
    ("limit", "rows", "number"),
    [
        (None, 10, None),
        (7, 10, 7),
        ("10%", 99, 9),
        ("0%", 99, 0),
        ("2.5%", 1000, 25),
        ("100%", 3, 3),
    ],
)
def test_share_is_a_number_of_the_rows(
    limit: int | str | None, rows: int, number: int | None
) -> None:
    check_max_rejects(limit)
    assert limit_of(limit, rows) == number


def test_number_as_text_is_a_number() -> None:
    assert [read_max_rejects(text) for text in ("12", "-1", "10%", "x")] == [12, -1, "10%", "x"]


@pytest.mark.parametrize("limit", [-1, 2**63, "-1%", "10", "10 %", "1e1%", "1000%", "%", "٣%"])
def test_other_limits_are_refused(limit: int | str) -> None:
    with pytest.raises(InvalidInput, match="max_rejects: "):
        check_max_rejects(limit)
