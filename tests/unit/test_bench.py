"""The benchmarks' own arithmetic: medians, ratios, spoilt rows, what /proc says."""

from decimal import Decimal
from pathlib import Path

import pytest

import orderworks
from bench.contenders import FLOOR, PEERS
from bench.environments import digest
from bench.files import SPOILS, SPOILT_EVERY, spoil
from bench.peaks import peak_in
from bench.report import cpu_model
from bench.sides import NotRun, Result, Side, SideFailed, attempt, compare
from bench.updates import ORDERWORKS, comparisons
from bench.waves import Update, Wave
from orders.errors import ConfigurationError
from orderworks.cli.bench import bench


def test_the_median_of_the_rounds_counts_and_the_first_side_is_the_baseline() -> None:
    copy, slow = iter([2.0, 1.0, 9.0]), iter([4.0, 4.0, 1.0])
    first, second = compare(
        3, Side("copy", 100, lambda: next(copy)), Side("slow", 50, lambda: next(slow))
    )
    assert (first.seconds, first.rate, first.ratio) == (2, 50, 1)
    assert (second.rounds, second.seconds, second.rate, second.ratio) == ([4, 4, 1], 4, 12.5, 0.25)


def test_sides_take_turns() -> None:
    ran: list[str] = []

    def side(name: str) -> Side:
        def run() -> float:
            ran.append(name)
            return 1

        return Side(name, 1, run)

    compare(2, side("a"), side("b"))
    assert ran == ["a", "b", "a", "b"]


def test_every_mistake_changes_the_line_in_a_way_of_its_own() -> None:
    line = "7,1,19.90,open,2026-11-01\n"
    spoilt = {spoil(line, SPOILT_EVERY * number) for number in range(len(SPOILS))}
    assert len(spoilt - {line}) == len(SPOILS)
    assert all(each.endswith("\n") and each.count("\n") == 1 for each in spoilt)


def test_the_peak_is_in_bytes_and_0_of_a_process_that_has_ended() -> None:
    assert peak_in("Name:\tpython\nVmHWM:\t    1024 kB\nVmRSS:\t     512 kB\n") == 1 << 20
    assert peak_in("Name:\tpython\nState:\tZ (zombie)\n") == 0


def test_the_processor_has_a_name(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Abacus 9\n\nprocessor\t: 1\n")
    assert cpu_model(cpuinfo) == "Abacus 9"
    assert cpu_model(tmp_path / "nothing") != ""


def test_without_a_clone_it_says_where_the_benchmarks_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orderworks, "__file__", str(tmp_path / "orderworks" / "__init__.py"))
    with pytest.raises(ConfigurationError, match="from a clone"):
        bench()


def test_a_side_that_fails_is_left_out_and_the_others_go_on() -> None:
    seconds = iter([1.0])

    def fails() -> float:
        for each in seconds:
            return each
        raise SideFailed("it broke")

    results, not_run = attempt(2, Side("first", 8, fails), Side("second", 8, lambda: 4))
    assert [(each.name, each.rounds, each.ratio) for each in results] == [("second", [4, 4], 1)]
    assert not_run == [NotRun("first", "it broke")]


def test_without_permission_to_fail_a_side_stops_the_comparison() -> None:
    def fails() -> float:
        raise SideFailed("it broke")

    with pytest.raises(SideFailed, match="^first: it broke"):
        compare(1, Side("first", 1, fails))


def test_orderworks_is_compared_with_celery_the_best_peer_and_the_floor() -> None:
    def result(name: str, rate: float) -> Result:
        return Result(name, 1, [], 1, rate, 1)

    rates = {"Celery": 10, "dramatiq": 40, "celery-batches": 50, FLOOR.name: 800, ORDERWORKS: 600}
    (sentence,) = comparisons([result(*each) for each in rates.items()])
    assert sentence == (
        "Orderworks does 60.00 times Celery, 15.00 times dramatiq, 12.00 times celery-batches, "
        "0.75 times bare loop, no job system"
    )
    assert comparisons([result(ORDERWORKS, 1)]) == []


def test_the_newest_version_of_an_order_is_what_counts() -> None:
    wave = Wave([Update(1, "2.50", 7), Update(2, "1.00", 8), Update(1, "0.10", 9)])
    assert wave.newest() == {1: (Decimal("0.10"), 9), 2: (Decimal(1), 8)}
    assert wave.first_version == 7


def test_an_environment_is_another_one_when_a_release_changes() -> None:
    assert digest(["rq==3.0.0"]) == digest(["rq==3.0.0"])
    assert digest(["rq==3.0.0"]) != digest(["rq==3.0.1"])


def test_every_package_of_a_peer_is_pinned() -> None:
    for peer in PEERS:
        assert all("==" in pin for pin in peer.pins), peer.name
