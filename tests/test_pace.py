"""The page of runs per hour: what it prints of measurements, and without any."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from IPython.display import Markdown

from msa.bench.runner import AXES, PACKED, SEQUENTIAL, SINGLE, USUAL
from msa.report import pace
from msa.report.labels import MISSING

COMMON = {"device": "cpu", "device_name": "a machine", "commit": "0123456789abcdef"}


@pytest.fixture
def measured(monkeypatch):
    rows = [
        {
            "way": way,
            "jobs": jobs,
            "runs": runs,
            "dataset": "mosi",
            "models": "MFMB-Net TFR-Net",
            "max_epochs": 3,
            "missing_rate": 0.5,
            "seconds": seconds,
            "runs_per_hour": 3600 * runs / seconds,
            **COMMON,
        }
        for way, jobs, runs, seconds in (
            (SINGLE, 1, 12, 600.0),
            (SEQUENTIAL, 1, 12, 400.0),
            (PACKED, 2, 12, 240.0),
            (PACKED, 2, 3, 60.0),
            (PACKED, 2, 6, 120.0),
        )
    ]
    growth = [
        {
            "axis": axis,
            "value": value,
            "model": model,
            **{**USUAL, axis: value},
            "seconds": value**2.0 if axis == "steps" else float(value),
            **COMMON,
        }
        for model in ("MFMB-Net", "TFR-Net")
        for axis, values in AXES.items()
        for value in values
    ]
    monkeypatch.setattr(pace, "load_pace", lambda: pd.DataFrame(rows))
    monkeypatch.setattr(pace, "load_growth", lambda: pd.DataFrame(growth))


def test_the_packed_study_is_compared_with_single_runs_and_the_goal(measured):
    assert "2.50 times those of single runs" in pace.pace_in_words()
    assert "1.67 times those of one lasting process" in pace.pace_in_words()
    assert "meets the goal of 1.8" in pace.pace_in_words()


def test_a_missed_goal_is_said(measured, monkeypatch):
    slow = pace.load_pace()
    slow.loc[slow["way"] == PACKED, ["seconds", "runs_per_hour"]] = 590.0, 73.2
    monkeypatch.setattr(pace, "load_pace", lambda: slow)
    assert "misses the goal of 1.8" in pace.pace_in_words()


def test_the_ways_stand_in_their_order_with_their_ratios(measured):
    table = pace.pace_table()
    assert table.cells["Way"].to_list() == [SINGLE, SEQUENTIAL] + [PACKED] * 3
    whole = table.cells[table.cells["Runs"] == "12"]
    assert whole["Times single"].to_list() == ["1", "1.5", "2.5"]
    assert "CMU-MOSI" in table.caption


def test_the_exponents_are_those_of_the_points(measured):
    table = pace.exponent_table()
    found = table.data.groupby("axis")["exponent"].mean()
    assert np.round(found.to_dict()["steps"], 6) == 2.0
    assert np.round(found.to_dict()["samples"], 6) == 1.0
    assert "steps in a sequence 2.00 to 2.00" in pace.growth_in_words()
    assert b"<svg" in pace.growth_picture().svg


def test_what_was_measured_at_another_commit_is_compared_with_nothing(
    measured, monkeypatch
):
    found = pace.load_pace()
    found.loc[found["way"] == SINGLE, "commit"] = "another commit"
    monkeypatch.setattr(pace, "load_pace", lambda: found)
    table = pace.pace_table()
    packed = table.cells[table.cells["Runs"] == "12"].set_index("Way").loc[PACKED]
    assert packed["Times single"] == MISSING
    assert packed["Times sequential"] == "1.67"
    assert set(table.cells["Commit"]) == {"another co", "0123456789"}
    assert "no single runs beside it" in pace.pace_in_words()


def test_points_of_two_machines_are_not_on_one_line(measured, monkeypatch):
    here = pace.load_growth()
    slow = here.assign(seconds=here["seconds"] * 100, device_name="a slow machine")
    part = slow[slow["value"] == slow.groupby("axis")["value"].transform("max")]
    both = pd.concat([here, slow], ignore_index=True)
    for growth, machines in ((both, 2), (pd.concat([here, part]), 1)):
        monkeypatch.setattr(pace, "load_growth", lambda growth=growth: growth)
        table = pace.exponent_table()
        steps = table.data[table.data["axis"] == "steps"]["exponent"]
        assert np.round(steps.tolist(), 6).tolist() == [2.0] * 2 * machines
    assert "Device" not in table.cells
    monkeypatch.setattr(pace, "load_growth", lambda: both)
    assert set(pace.exponent_table().cells["Device"]) == {"a machine", "a slow machine"}
    assert ">TFR-Net, a slow machine<" in pace.growth_picture().svg.decode()


def test_without_measurements_the_command_is_told(monkeypatch):
    for name in ("load_pace", "load_growth"):
        empty = getattr(pace, name)().head(0)
        monkeypatch.setattr(pace, name, lambda empty=empty: empty)
    for shown in (pace.pace_table(), pace.growth_picture(), pace.exponent_table()):
        assert isinstance(shown, Markdown)
        assert "python -m msa bench runner" in shown.data
    assert "not been measured" in pace.pace_in_words()
    assert "not been measured" in pace.growth_in_words()


def test_results_of_ones_own_without_measurements_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MSA_RESULTS", str(tmp_path))
    assert "not been measured" in pace.growth_in_words()
    assert "not been measured" in pace.batching_in_words()


def test_a_larger_mini_batch_bounds_what_batched_runs_gain(measured, monkeypatch):
    # In the fixture the seconds are the batch: twice as large takes twice as long.
    assert "is done 0.50 times as fast (a machine)" in pace.batching_in_words()
    growth = pace.load_growth()
    monkeypatch.setattr(pace, "load_growth", lambda: growth[growth["value"] < 48])
    assert "have not been measured yet" in pace.batching_in_words()
