"""The benchmarks' own arithmetic: medians, ratios, spoilt rows, what /proc says."""

from pathlib import Path

import pytest

import orderworks
from bench.files import SPOILS, SPOILT_EVERY, spoil
from bench.peaks import peak_in
from bench.report import cpu_model
from bench.sides import Side, compare
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
