"""The benchmark of the runner: what it does, what it fits, what it keeps."""

from __future__ import annotations

import math
import subprocess
import sys
from types import SimpleNamespace

import fake_runs
import pandas as pd
import pytest
from fake_runs import FAILS, quick

from msa import cli
from msa.bench import runner
from msa.bench.runner import PACKED, SEQUENTIAL, SINGLE, BenchError, Pace
from msa.cli import main
from msa.commands import config_of


@pytest.fixture
def configs(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    return fake_runs.grid(range(100, 106))


def pace_row(way, runs, seconds, jobs=1, **fields):
    return {
        "way": way,
        "jobs": jobs,
        "runs": runs,
        "dataset": "demo",
        "models": "A B",
        "max_epochs": 3,
        "missing_rate": 0.5,
        "device": "cpu",
        "device_name": "this",
        "seconds": seconds,
        "runs_per_hour": 3600 * runs / seconds,
        **fields,
    }


def test_a_grid_takes_turns_and_has_no_run_twice():
    configs = runner.grid("demo", ["TFR-Net", "constant"], 4, 2)
    assert [config.model for config in configs] == ["TFR-Net", "constant"] * 2
    assert len({config.run_id for config in configs}) == 4


def test_the_number_of_runs_varies_where_they_are_packed(configs):
    found = runner.paces(configs, 2, "cpu", [PACKED, SINGLE])
    assert [(p.way, p.jobs, len(p.configs)) for p in found] == [
        (SINGLE, 1, 6),
        (PACKED, 2, 6),
        (PACKED, 2, 1),
        (PACKED, 2, 3),
    ]


def test_every_run_is_done_anew_each_time(configs):
    row = runner.measure_pace(Pace(PACKED, 2, configs), quick)
    assert (row["runs"], row["jobs"], row["models"]) == (6, 2, "constant")
    assert row["seconds_per_run"] == pytest.approx(row["seconds"] / 6)
    assert row["runs_per_hour"] == pytest.approx(3600 / row["seconds_per_run"])
    assert {"torch", "commit", "dirty"} <= set(row)
    assert len({pid for _, pid in fake_runs.log()}) == 2
    runner.measure_pace(Pace(SEQUENTIAL, 1, configs), quick)
    assert len(fake_runs.log()) == 12  # the store of the first measurement is gone


def test_a_run_that_fails_is_told(configs):
    with pytest.raises(BenchError, match=r"1 of 1 runs .*loss is nan in epoch 3"):
        runner.measure_pace(Pace(SEQUENTIAL, 1, fake_runs.grid([FAILS])), quick)


def test_single_runs_are_commands_of_their_own(monkeypatch):
    configs = runner.grid("demo", ["constant", "TFR-Net"], 2, 1)
    commands = []

    def pretend(command, **options):
        commands.append(command)
        assert options["env"]["OMP_NUM_THREADS"] == "1"
        broken = len(commands) > 2
        return subprocess.CompletedProcess(command, int(broken), "", "no such data")

    monkeypatch.setattr(runner, "subprocess", SimpleNamespace(run=pretend))
    assert runner.measure_pace(Pace(SINGLE, 1, configs))["runs"] == 2
    for command, config in zip(commands, configs, strict=True):
        assert command[:4] == [sys.executable, "-m", "msa", "train"]
        # The store is a new one, so that nothing counts as done.
        options = cli._parser().parse_args(command[3:])
        assert config_of(options) == config
        assert not options.store.exists()
    with pytest.raises(BenchError, match="no such data"):
        runner.measure_pace(Pace(SINGLE, 1, configs[:1]))


def test_exponents_by_hand():
    pace = pd.DataFrame(
        [pace_row(PACKED, n, 5.0 * n, jobs=2) for n in (2, 4, 8)]
        + [pace_row(PACKED, 8, 1.0, jobs=4), pace_row(SINGLE, 8, 80.0)]
    )
    growth = pd.DataFrame(
        [
            {
                "axis": axis,
                "value": v,
                "model": "A",
                "device_name": "this",
                "seconds": s,
            }
            for axis, points in {
                "steps": ((8, 3.0), (16, 12.0), (32, 48.0)),  # four times at the double
                "batch": ((6, 4.0), (12, 2.0), (24, 1.0)),
                "samples": ((96, 1.0), (192, 2.0)),  # a line through two is no fit
            }.items()
            for v, s in points
        ]
    )
    found = runner.exponents(pace, growth)
    assert dict(zip(found["axis"], found["exponent"], strict=True)) == pytest.approx(
        {"runs": 1.0, "steps": 2.0, "batch": -1.0}
    )
    assert found["r2"].to_list() == pytest.approx([1.0] * 3)
    assert found["model"][0] == "A B (demo, 3 epochs, 2 jobs)"
    # Off the line: log2 of 1, 4, 4 over 0, 1, 2 has slope 1 and explains 3/4.
    bent = growth.head(3).assign(seconds=[1.0, 4.0, 4.0])
    (row,) = runner.exponents(pace.head(0), bent).to_dict("records")
    assert (row["exponent"], row["r2"]) == pytest.approx((1.0, 0.75))


def test_speedups_compare_the_same_grid_only(tmp_path):
    rows = [
        pace_row(SINGLE, 8, 80.0),
        pace_row(SEQUENTIAL, 8, 40.0),
        pace_row(PACKED, 8, 20.0, jobs=2),
        pace_row(PACKED, 4, 12.0, jobs=2),
    ]
    runner.save_pace(rows, tmp_path)
    runner.save_pace([pace_row(PACKED, 8, 16.0, jobs=2)], tmp_path)  # replaces
    found = runner.speedups(runner.load_pace(tmp_path)).set_index(["way", "runs"])
    assert found.loc[(PACKED, 8), "over_single"] == 5.0
    assert found.loc[(PACKED, 8), "over_sequential"] == 2.5
    assert math.isnan(found.loc[(PACKED, 4), "over_single"])


def test_growth_measures_what_is_asked(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(runner, "AXES", {"samples": (24, 48, 96)})
    monkeypatch.setattr(runner, "results_dir", lambda: tmp_path)
    arguments = ["bench", "runner", "--only", "growth", "--models", "fc(a)", "--save"]
    assert main(arguments) == 0
    text = capsys.readouterr()
    assert "FC(A), samples 96: " in text.err
    assert "value ^ exponent" in text.out
    table = runner.load_growth()
    assert table["samples"].to_list() == [24, 48, 96]
    assert (table["batch"] == 24).all()
    assert (table["seconds"] > 0).all()
    assert (tmp_path / "benchmarks" / "growth.csv").is_file()
