"""The benchmarks' own arithmetic, tables and pictures; that they run is proved in tests/acceptance."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import signal
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks import figures, machine
from benchmarks.bench import Bench
from benchmarks.chart import Curve, Panel, draw, growth
from benchmarks.figures import Figure, Measurement, Results, figure, from_json, merged, percentile, to_json
from benchmarks.instrumented import EVERY, PAUSE, LoopWatch
from benchmarks.plan import FULL, PLANS
from benchmarks.population import Population
from benchmarks.report import BEGIN, END, block, figures_table, number, placed, targets_table
from benchmarks.targets import TARGETS, judge, longest, missed

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
MACHINE = {
    "processor": "a chip",
    "cores": 2,
    "pinned": True,
    "memory_gb": 4,
    "system": "Linux",
    "file_system": "ext4",
    "python": "3.11.7",
    "libraries": {"aiohttp": "3", "psycopg": None},
    "load_before": 0.1,
}


def results(*measurements: Measurement, plan: str = "full", missing: dict[str, str] | None = None) -> Results:
    return Results(
        at="2026-11-22T12:00:00+00:00", plan=plan, machine=MACHINE, measurements=list(measurements), missing=missing or {}
    )


FLOOR = 0.2
"""CPU seconds of the bare read of a list."""


def poll(cpu: float, *, size: int = 100_000, database: str = "sqlite", blocked: float = 5.0) -> Measurement:
    found = {"cpu": figure([cpu], "s"), "blocked": figure([blocked / 2, blocked], "ms"), "rows": figure([3, 3, 3], "")}
    found |= {"times_bare": figure([cpu / FLOOR], "x"), "floor": figure([FLOOR], "s"), "callback": figure([blocked / 2], "ms")}
    return Measurement(benchmark="poll-unchanged", case="", database=database, size=size, figures=found)


# --- figures


def test_a_figure_is_the_median_and_the_range_of_its_repeats() -> None:
    assert figure([3, 1, 2], "s") == Figure(unit="s", median=2, low=1, high=3, repeats=3)


def test_nothing_has_no_median() -> None:
    with pytest.raises(ValueError, match="nothing"):
        figure([], "s")


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)],
)
def test_a_percentile_is_one_of_the_values(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], share) == expected


def test_results_survive_json() -> None:
    kept = results(poll(0.5), missing={"pages": "no page"})
    assert from_json(to_json(kept)) == kept


def test_a_run_of_a_part_replaces_only_that_part() -> None:
    start = Measurement(benchmark="start", case="", database="sqlite", size=0, figures={"took": figure([1], "s")})
    before = results(poll(0.9), start, missing={"pages": "no page"})
    after = merged(before, results(poll(0.5), missing={}))
    assert [(each.benchmark, each.figures) for each in after.measurements] == [
        ("start", start.figures),
        ("poll-unchanged", poll(0.5).figures),
    ]
    assert after.missing == {"pages": "no page"}


def test_results_of_another_shape_count_as_none(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"at": "then"}', "utf-8")
    assert figures.load(tmp_path / "results.json") is None
    assert figures.load(tmp_path / "absent.json") is None


# --- targets


def test_every_target_belongs_to_a_benchmark_that_exists() -> None:
    measured_by_another = {"", "restart"}  # all of them, and probes-paced
    assert {target.benchmark for target in TARGETS} - measured_by_another <= set(program.BENCHMARKS)


def test_the_full_plan_has_the_sizes_of_the_targets() -> None:
    assert (FULL.accounts, FULL.large, FULL.sources, FULL.minute, FULL.round, FULL.settled) == (
        10_000,
        100_000,
        10_000,
        60,
        60,
        60,
    )
    assert any(target.case == f"plain, 0 ms, every {FULL.often:.0f} s" for target in TARGETS)
    assert set(FULL.databases) == {"sqlite", "postgres"}
    assert set(FULL.sizes) == {10, 100, 1_000, 10_000, 100_000}


def test_a_target_is_met_or_missed_on_each_database() -> None:
    judged = judge(results(poll(0.5), poll(0.7, database="postgres")))
    found = {each.database: each.met for each in judged if each.target.work.endswith("one list: CPU")}
    assert found == {"sqlite": True, "postgres": False}
    assert [each.database for each in missed(judged)] == ["postgres"]


def test_a_ratio_comes_with_its_figure_and_the_floor_of_the_same_measurement() -> None:
    found = next(each for each in judge(results(poll(0.5))) if each.target.work.endswith("one list: CPU"))
    assert (found.value, found.of, found.floor) == (2.5, figure([0.5], "s"), figure([FLOOR], "s"))


def test_a_bound_that_is_no_ratio_does_not_take_the_floor_of_another_figure() -> None:
    found = next(each for each in judge(results(poll(0.5))) if each.target.work.endswith("rows written"))
    assert (found.value, found.of, found.floor) == (3, None, None)


def test_the_slowest_page_of_all_counts_and_its_own_floor() -> None:
    def page(case: str, took: float) -> Measurement:
        found = {"took": figure([took], "ms"), "floor": figure([took / 10], "ms")}
        return Measurement(benchmark="pages", case=case, database="sqlite", size=100_000, figures=found)

    judged = judge(results(page("page", 40), page("far page", 120), page("api", 30)))
    found = next(each for each in judged if each.target.figure == "took" and each.target.benchmark == "pages")
    assert (found.value, found.met, found.floor, found.case) == (120, False, figure([12], "ms"), "far page")
    assert "| **120** missed (far page, floor 12 ms) |" in "\n".join(targets_table(judged))


def test_the_smallest_value_counts_where_more_is_better() -> None:
    target = next(target for target in TARGETS if target.at_least is not None and target.case is None)

    def measured(case: str, value: float) -> Measurement:
        found = {target.figure: figure([value], target.unit)}
        return Measurement(benchmark=target.benchmark, case=case, database=target.databases[0], size=target.size, figures=found)

    found = next(each for each in judge(results(measured("a", 9), measured("b", 1))) if each.target is target)
    assert (found.value, found.met, found.case) == (1, False, "b")


def test_ratios_are_bounded_where_there_is_a_floor_and_every_ratio_names_its_figure() -> None:
    ratios = [target for target in TARGETS if target.unit == "x"]
    assert len(ratios) >= 12
    assert all(target.of for target in ratios)
    assert all(target.unit for target in TARGETS if target.with_floor)


def test_a_poll_of_another_size_proves_nothing() -> None:
    judged = judge(results(poll(0.5, size=10_000)))
    assert all(each.value is None for each in judged if each.target.size == 100_000)


def test_the_longest_block_of_all_benchmarks_counts() -> None:
    kept = results(poll(0.5, size=10), poll(0.5, blocked=250))
    found = {each.target.figure: (each.value, each.met) for each in judge(kept) if not each.target.benchmark}
    assert found == {"blocked": (250, False), "callback": (125, False)}
    assert longest(kept, "blocked") == longest(kept, "callback") == kept.measurements[1]
    assert longest(kept, "took") is None


# --- tables


def test_a_target_stands_beside_its_figure_and_a_miss_is_plain_to_see() -> None:
    table = "\n".join(targets_table(judge(results(poll(0.5), poll(0.7, database="postgres")))))
    row = "a poll of 100,000 unchanged connections in one list: CPU | ≤ 2.5 x | 2.5 (0.5 s, floor 0.2 s) | **3.5** missed (0.7 s"
    assert f"| {row}, floor 0.2 s) |" in table
    assert "not measured" in table


def test_the_page_shows_every_target_and_a_part_only_its_own() -> None:
    assert "`status` in the terminal, 10 connections: CPU | ≤ 1.1 x | not measured" in block(results(poll(0.5)), whole=True)
    assert "`status` in the terminal" not in block(results(poll(0.5)))


def test_rows_of_a_table_have_as_many_cells_as_its_head() -> None:
    other = Measurement(benchmark="poll-unchanged", case="", database="postgres", size=10, figures={"cpu": figure([1, 2], "s")})
    lines = list(figures_table([poll(0.5), other]))
    assert len({line.count("|") for line in lines}) == 1
    assert lines[0].startswith("| case | times bare, x | cpu, s |")
    assert "1.5 (1 to 2)" in lines[-1]


def test_the_page_omits_what_was_not_requested_and_names_what_is_missing() -> None:
    text = block(results(poll(0.5, size=10), plan="quick", missing={"pages": "no page"}))
    assert "status` in the terminal" not in text
    assert "- `pages`: no page" in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.00001234, "0.00001"), (0.5, "0.5"), (1.2345, "1.23"), (99.96, "100"), (1234.5, "1,234"), (0.0312, "0.0312")],
)
def test_numbers_read_well(value: float, expected: str) -> None:
    assert number(value) == expected


def test_figures_go_between_the_markers_and_nowhere_else() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert placed(page, "new") == f"before\n{BEGIN}\n\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="lines"):
        placed("no markers", "new")


def test_a_run_is_kept_as_json_page_and_picture(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n", "utf-8")
    files = {"results_file": tmp_path / "results.json", "page": page, "picture": tmp_path / "growth.svg"}
    program.keep(results(poll(0.5), poll(0.1, size=10)), whole=True, **files)
    program.keep(results(poll(0.4), poll(0.1, size=10)), whole=False, **files)
    assert from_json(files["results_file"].read_text("utf-8")).find("poll-unchanged")[0].figures["cpu"].median == 0.4
    assert "![What grows with the number of connections](growth.svg)" in page.read_text("utf-8")
    assert ET.fromstring(files["picture"].read_text("utf-8")) is not None  # noqa: S314 - our own file


def test_a_run_that_is_stopped_keeps_the_benchmarks_that_it_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    def finished(bench: Bench) -> None:
        bench.add("poll-unchanged", figures=poll(0.5).figures)

    def stopped(bench: Bench) -> None:
        bench.add("status", figures=poll(0.5).figures)
        sys.exit(128 + signal.SIGTERM)

    monkeypatch.setattr(program, "BENCHMARKS", {"poll-unchanged": finished, "status": stopped, "start": finished})
    found, broken = program.measure("full")
    assert [each.benchmark for each in found.measurements] == ["poll-unchanged"]
    assert (broken, found.missing) == ({"status": program.STOPPED}, {})


def test_the_documented_figures_are_those_that_were_kept() -> None:
    kept = figures.load(program.RESULTS)
    assert kept is not None, "benchmarks/results.json is not of this version: run make bench"
    chart = program.CHART.name if growth(kept) else None
    text = program.PAGE.read_text("utf-8")
    assert placed(text, block(kept, chart=chart, whole=True)) == text


# --- the picture


def test_a_chart_is_plain_svg_with_every_curve_named() -> None:
    curves = (Curve(name="SQLite <1>", points=((10, 0.002), (100_000, 0.5))), Curve(name="bare", points=((10, 0.001),)))
    text = draw([Panel(title="CPU", unit="s", curves=curves)] * 4)
    root = ET.fromstring(text)  # noqa: S314 - our own text
    said = ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text")]
    assert "SQLite <1>" in said
    assert "100k" in said
    assert re.findall(r"https?://[^\"' )]+", text) == ["http://www.w3.org/2000/svg"]
    wide, high = (float(root.attrib[name]) for name in ("width", "height"))
    for node in root.iter():
        if node.tag.endswith("}circle"):
            assert 0 < float(node.attrib["cx"]) < wide
            assert 0 < float(node.attrib["cy"]) < high


def test_growth_is_drawn_only_where_there_are_sizes_to_compare() -> None:
    assert growth(results(poll(0.5))) == []
    panels = growth(results(poll(0.5), poll(0.1, size=10)))
    assert [panel.title for panel in panels] == ["Unchanged poll, CPU"]


# --- the simulated list and the machine


def test_a_population_lists_its_rows_and_flips_them() -> None:
    population = Population(name="population", first=8, size=3, at=AT)
    rows = json.loads(population.body(zipped=False))["connections"]
    assert [row["platformId"] for row in rows] == ["linkedin-1000008", "instagram-1000009", "threads-1000010"]
    assert {row["tokenStatus"] for row in rows} == {"valid"}
    population.turn("expired", 9)
    again = json.loads(gzip.decompress(population.body(zipped=True)))["connections"]
    assert [row["tokenStatus"] for row in again] == ["valid", "expired", "valid"]


def test_the_same_instant_gives_the_same_list() -> None:
    assert Population(name="a", first=0, size=20, at=AT).body(zipped=True) == Population(name="b", first=0, size=20, at=AT).body(
        zipped=True
    )


def spin(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@pytest.mark.parametrize(("block", "computes"), [(time.sleep, False), (spin, True)])
def test_a_callback_counts_by_its_own_cpu_and_a_block_by_the_time_it_took(
    block: Callable[[float], None], computes: bool, tmp_path: Path
) -> None:
    report = tmp_path / "watch.jsonl"

    async def blocked_once() -> None:
        LoopWatch(report).start()
        await asyncio.sleep(2 * EVERY)
        block(0.2)
        await asyncio.sleep(2 * EVERY)
        os.kill(os.getpid(), signal.SIGUSR2)
        await asyncio.sleep(EVERY)
        for each in (PAUSE, signal.SIGUSR2):
            asyncio.get_running_loop().remove_signal_handler(each)

    asyncio.run(blocked_once())
    window = json.loads(report.read_text("utf-8"))
    assert window["blocked"] > 0.15
    assert (window["callback"] > 0.15) == computes


def test_a_paused_watch_neither_wakes_the_process_nor_reports_a_block(tmp_path: Path) -> None:
    report = tmp_path / "watch.jsonl"

    async def pause_block_and_continue() -> None:
        loop = asyncio.get_running_loop()
        watch = LoopWatch(report)
        watch.start()
        for each in (PAUSE, signal.SIGUSR2, PAUSE):
            os.kill(os.getpid(), each)
            await asyncio.sleep(2 * EVERY)
            time.sleep(0.2)  # noqa: ASYNC251 - the block
            await asyncio.sleep(2 * EVERY)
        os.kill(os.getpid(), signal.SIGUSR2)
        await asyncio.sleep(EVERY)
        for each in (PAUSE, signal.SIGUSR2):
            loop.remove_signal_handler(each)

    asyncio.run(pause_block_and_continue())
    paused, continued = map(json.loads, report.read_text("utf-8").splitlines())
    assert paused["blocked"] < 0.15 < continued["blocked"]


def test_a_process_can_be_read(tmp_path: Path) -> None:
    reading = machine.read(os.getpid())
    assert reading.cpu > 0
    assert reading.resident > 1
    described = machine.describe(tmp_path)
    assert described["cores"] == os.cpu_count()
    assert set(MACHINE) <= set(described)


@pytest.mark.parametrize("wrong", [["--only", "no-such"], ["--quick", "--write"], ["--plan", "huge"]])
def test_wrong_arguments_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.main(wrong)
    assert capsys.readouterr().err


def test_every_plan_leaves_out_only_benchmarks_that_exist() -> None:
    for plan in PLANS.values():
        assert set(plan.without) <= set(program.BENCHMARKS)
