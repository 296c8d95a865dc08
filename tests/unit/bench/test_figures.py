"""The benchmarks' own arithmetic: medians, ratios, bad rows, values of /proc."""

import inspect
import sys
from decimal import Decimal
from importlib import import_module
from pathlib import Path

import matplotlib as mpl
import pytest
from typer.main import get_command

from bench.alternate import NotRun, Result, Side, SideFailed, attempt, compare
from bench.commands import BENCHMARKS, Benchmark, picture_file
from bench.figures import Figures, Latency
from bench.imports.order_files import BAD_ROW_EVERY, BREAKING_CHANGES, break_row
from bench.imports.peaks import peak_in
from bench.peers import sending
from bench.peers.environments import digest
from bench.peers.registry import BARE_LOOP, CELERY, OURS, OURS_MANY, PEERS
from bench.plot import draw
from bench.report import cpu_model
from bench.updates import enqueue
from bench.updates.latency import Measured, summary
from bench.updates.updates import ORDERWORKS, comparisons
from bench.updates.workloads import BenchUpdate, Workload
from orderworks.core.errors import ConfigurationError, InvalidInput
from orderworks_app.cli.bench import bench_commands


def test_median_of_rounds_is_compared_with_the_first_side() -> None:
    copy, slow = iter([2.0, 1.0, 9.0]), iter([4.0, 4.0, 1.0])
    first, second = compare(
        3, Side("copy", 100, lambda: next(copy)), Side("slow", 50, lambda: next(slow))
    )
    assert (first.seconds, first.rate, first.ratio) == (2, 50, 1)
    assert (second.rounds, second.seconds, second.rate, second.ratio) == ([4, 4, 1], 4, 12.5, 0.25)


def test_sides_run_alternately() -> None:
    ran: list[str] = []

    def side(name: str) -> Side:
        def run() -> float:
            ran.append(name)
            return 1

        return Side(name, 1, run)

    compare(2, side("a"), side("b"))
    assert ran == ["a", "b", "a", "b"]


def test_every_spoil_function_changes_the_line_differently() -> None:
    line = "7,1,19.90,open,2026-11-01\n"
    lines = {break_row(line, BAD_ROW_EVERY * number) for number in range(len(BREAKING_CHANGES))}
    assert len(lines - {line}) == len(BREAKING_CHANGES)
    assert all(each.endswith("\n") and each.count("\n") == 1 for each in lines)


def test_peak_memory_is_in_bytes_and_0_for_an_ended_process() -> None:
    assert peak_in("Name:\tpython\nVmHWM:\t    1024 kB\nVmRSS:\t     512 kB\n") == 1 << 20
    assert peak_in("Name:\tpython\nState:\tZ (zombie)\n") == 0


def test_processor_name_is_read_from_cpuinfo_or_platform(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Abacus 9\n\nprocessor\t: 1\n")
    assert cpu_model(cpuinfo) == "Abacus 9"
    assert cpu_model(tmp_path / "nothing") != ""


def test_without_bench_package_every_benchmark_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "bench.commands", None)
    command = get_command(bench_commands())
    for arguments in ([], ["imports", "--rows", "1000"]):
        with pytest.raises(ConfigurationError, match="from a clone"):
            command.main(arguments, standalone_mode=False)


def test_failed_side_is_omitted_and_others_continue() -> None:
    seconds = iter([1.0])

    def fails() -> float:
        for each in seconds:
            return each
        raise SideFailed("it broke")

    results, not_run = attempt(2, Side("first", 8, fails), Side("second", 8, lambda: 4))
    assert [(each.name, each.rounds, each.ratio) for each in results] == [("second", [4, 4], 1)]
    assert not_run == [NotRun("first", "it broke")]


def test_required_side_that_fails_stops_the_comparison() -> None:
    def fails() -> float:
        raise SideFailed("it broke")

    with pytest.raises(SideFailed, match="^first: it broke"):
        compare(1, Side("first", 1, fails))


def test_orderworks_is_compared_with_celery_the_best_peer_and_the_floor() -> None:
    def result(name: str, rate: float) -> Result:
        return Result(name, 1, [], 1, rate, 1)

    rates = {
        "Celery": 10,
        "dramatiq": 40,
        "celery-batches": 50,
        BARE_LOOP.name: 800,
        ORDERWORKS: 600,
    }
    (sentence,) = comparisons([result(*each) for each in rates.items()])
    assert sentence == (
        "Orderworks does 60.00 times Celery, 15.00 times dramatiq, 12.00 times celery-batches, "
        "0.75 times bare loop, no job system"
    )
    assert comparisons([result(ORDERWORKS, 1)]) == []


def test_newest_version_of_an_order_is_expected() -> None:
    workload = Workload(
        [BenchUpdate(1, "2.50", 7), BenchUpdate(2, "1.00", 8), BenchUpdate(1, "0.10", 9)]
    )
    assert workload.newest() == {1: (Decimal("0.10"), 9), 2: (Decimal(1), 8)}
    assert workload.first_version == 7


def test_environment_key_changes_with_a_release() -> None:
    assert digest(["rq==3.0.0"]) == digest(["rq==3.0.0"])
    assert digest(["rq==3.0.0"]) != digest(["rq==3.0.1"])


def test_every_package_of_a_peer_is_pinned() -> None:
    for peer in PEERS:
        assert all("==" in pin for pin in peer.pins), peer.name


class FakeTime:
    """A clock that advances only by sleeping, and by slow senders."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += seconds


def test_updates_are_sent_on_schedule_with_the_due_time_as_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeTime()
    monkeypatch.setattr(sending, "time", clock)
    sent = [
        (clock.now, version)
        for _, _, version in sending.scheduled([(1, "1.00", 0)] * 3, rate=50, max_lateness=1)
    ]
    assert [at for at, _ in sent] == pytest.approx([1000.2, 1000.22, 1000.24])
    assert [version / 1e6 for _, version in sent] == pytest.approx([1000.2, 1000.22, 1000.24])


def test_late_update_is_measured_from_its_due_time_and_a_sender_far_behind_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeTime()
    monkeypatch.setattr(sending, "time", clock)
    versions = []
    for _, _, version in sending.scheduled([(1, "1.00", 0)] * 100, rate=10, max_lateness=1):
        versions.append(version / 1e6)
        clock.now += 0.6
    # Each takes 0.6 s and is due 0.1 s after the one before: the fourth would be 1.5 s late.
    assert versions == pytest.approx([1000.2, 1000.3, 1000.4])


def test_percentiles_are_in_milliseconds_and_missing_updates_mean_fell_behind() -> None:
    measured = Measured([*range(1000, 101_000, 1000)], due=101, sent=101, seconds=10)
    assert (measured.percentile(50), measured.percentile(99)) == (51, 100)
    assert measured.fell_behind
    assert not measured._replace(due=100).fell_behind


def test_side_keeps_up_if_it_did_in_most_rounds() -> None:
    kept_up = Measured([1000], due=1, sent=1, seconds=1)
    behind = Measured([9000], due=2, sent=1, seconds=1)
    assert summary(CELERY, 50, [behind, kept_up, kept_up]).kept_up
    assert not summary(CELERY, 50, [behind, kept_up, behind]).kept_up
    assert summary(CELERY, 50, [behind, kept_up, kept_up]).p50 == 1


def test_enqueue_rates_are_compared_with_celery_and_the_fastest_peer() -> None:
    rates = {"Celery": 10, "dramatiq": 30, "RQ": 20, OURS.name: 60, OURS_MANY.name: 400}
    results = [Result(name, 1, [], 1, rate, 1) for name, rate in rates.items()]
    assert enqueue.comparisons(results) == [
        "Orderworks, update() does 6.00 times Celery",
        "Orderworks, update() does 2.00 times dramatiq",
        "Orderworks, update_many() does 40.00 times Celery",
    ]


LATENCY = Latency(name="Celery", rate=50, rounds=1, p50=1, p99=2, reached=50, fell_behind=0)


@pytest.mark.parametrize("result", [Result("Celery", 1, [1], 1, 50, 1), LATENCY])
def test_plot_shows_every_side(tmp_path: Path, result: Result | Latency) -> None:
    file = tmp_path / "figures.svg"
    with mpl.rc_context({"svg.fonttype": "none"}):
        draw(Figures("updates", [result, NotRun("RQ", "it broke")], []), file)
    assert "Celery" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda each: each.name)
def test_options_of_a_command_are_the_parameters_of_its_benchmark(benchmark: Benchmark) -> None:
    module, _, function = benchmark.run.partition(":")
    parameters = inspect.signature(getattr(import_module(f"bench.{module}"), function)).parameters
    assert {each.name for each in benchmark.options} - {"json", "plot"} == set(parameters)


def test_unsupported_plot_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"\*\.svg or \*\.png"):
        picture_file(tmp_path / "figures.txt")
