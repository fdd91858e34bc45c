"""A system with two values of a setting: only runs that have each other count."""

import json

import numpy as np
import pandas as pd
import pytest

from msa.report import settings
from msa.train.config import ConfigError, RunConfig


@pytest.fixture
def published(monkeypatch):
    """LMF with and without its cut: two seeds at 0.5, one of them also at 0.0."""

    def run(rate, seed, bound, error, largest):
        config = RunConfig.resolve(
            dataset="mosi",
            model="LMF",
            missing_rate=rate,
            seed=seed,
            hyper={} if bound else {"bound": None},
        )
        row = {**config.model_dump(), "run_id": config.run_id, "test_MAE": error}
        row |= {"hyper": json.dumps(config.hyper), "test_Corr": 0.5}
        row["valid_MAE"] = 9.0 - error  # the other way round
        return row, np.array([0.0, -largest, np.nan])

    made = [
        run(0.5, 111, True, 1.0, 2.0),
        run(0.5, 111, False, 3.0, 90.0),
        run(0.5, 1111, True, 2.0, 3.0),
        run(0.5, 1111, False, 5.0, 50.0),
        run(0.0, 111, True, 0.9, 2.0),
    ]
    rows = pd.DataFrame([row for row, _ in made])
    found = {row["run_id"]: values for row, values in made}
    monkeypatch.setattr(settings, "load_runs", lambda: rows)
    monkeypatch.setattr(settings, "load_predictions", lambda *_: found)
    return rows


def test_means_over_the_seeds_that_both_have(published):
    table = settings.setting_table("LMF", "bound", None)
    cells = table.cells.set_index("Missing rate")
    assert list(cells.index) == ["0.5"]
    assert cells.at["0.5", "Seeds"] == "2"
    assert cells.at["0.5", "MAE (label units), bound 5.0"] == "1.500"
    assert cells.at["0.5", "MAE (label units), bound off"] == "4.000"
    assert cells.at["0.5", "Largest prediction, bound 5.0"] == "2.5"
    assert cells.at["0.5", "Largest prediction, bound off"] == "70.0"
    assert set(table.data["run_id"]) == set(published["run_id"][:4])
    assert [len(commands) for commands in table.commands.values()] == [4]


def test_rates_at_which_the_other_value_is_better_are_counted(published):
    assert settings.setting_in_words("LMF", "bound", None) == (
        "LMF: bound off, in place of bound 5.0, is better in MAE (label units) at 1 on "
        "the validation split and at 0 on the test split, of 1 missing rate run both "
        "ways with 2 seeds."
    )


def test_without_a_pair_it_says_so(published, monkeypatch):
    monkeypatch.setattr(settings, "load_runs", lambda: published[4:])
    assert settings.setting_in_words("LMF", "bound", None) == ""
    told = settings.setting_table("LMF", "bound", None).data
    assert told == "No published run of LMF has bound at null yet."


def test_a_setting_that_does_not_exist_is_refused(published):
    with pytest.raises(ConfigError, match="bond"):
        settings.setting_table("LMF", "bond", None)
