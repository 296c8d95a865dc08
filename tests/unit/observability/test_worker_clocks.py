"""The comparison of workers' clocks with the server's."""

import pytest

from orderworks_app.observability.worker_clocks import agree, describe, skew


@pytest.mark.parametrize(
    ("time", "ahead"), [(99.0, -1.0), (100.0, 0.0), (100.5, 0.0), (101.0, 0.0), (3701.0, 3600.0)]
)
def test_skew_is_the_distance_to_the_times_before_and_after_the_reply(
    time: float, ahead: float
) -> None:
    assert skew(time, earliest=100.0, latest=101.0) == ahead


@pytest.mark.parametrize(
    ("ahead", "agrees"), [(0, True), (5, True), (-5, True), (5.1, False), (-9, False)]
)
def test_clocks_agree_up_to_five_seconds(ahead: float, agrees: bool) -> None:  # noqa: FBT001 - a parameter
    assert agree({"good@host": 0.0, "other@host": ahead}) is agrees


def test_every_worker_is_described() -> None:
    skews = {"updates@a": 3600.0, "imports@b": -0.04}
    assert describe(skews) == "imports@b -0.0 s, updates@a +3600.0 s"
