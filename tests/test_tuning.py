"""The choice of settings: by validation MAE, of complete sets, and then the default."""

from __future__ import annotations

import pandas as pd
import pytest

from msa.study.grids import BASELINES, CANDIDATES, study
from msa.study.results import load_runs
from msa.study.tuning import choices


@pytest.fixture
def published(monkeypatch):
    """Pretend that runs are published: give their validation and test MAE by id."""

    def publish(rows):
        columns = ["run_id", "valid_MAE", "test_MAE"]
        frame = pd.DataFrame(rows, columns=columns)
        monkeypatch.setattr("msa.study.tuning.load_runs", lambda *_: frame)

    return publish


def test_the_lowest_validation_error_of_a_complete_set_is_chosen(published):
    ids = {
        model: [c.run_id for c in study("mosi-tuning").configs if c.model == model]
        for model in CANDIDATES["mosi"]
    }
    # The second is best on validation, the fourth on test; of LMF one is missing.
    scores = [(0.9, 0.8), (0.7, 0.9), (0.8, 0.7), (0.75, 0.1)]
    rows = [(i, *s) for i, s in zip(ids["TFN"], scores, strict=True)]
    rows += [(i, *s) for i, s in zip(ids["LMF"][:3], scores, strict=False)]
    published(rows)
    table = choices("mosi")
    assert len(table) == sum(map(len, CANDIDATES["mosi"].values()))
    chosen = table[table["chosen"]]
    assert chosen["run_id"].tolist() == [ids["TFN"][1]]
    assert chosen["candidate"].tolist() == [CANDIDATES["mosi"]["TFN"][1]]


def test_nothing_is_chosen_before_anything_is_published(published):
    published([])
    assert not choices("mosi")["chosen"].any()


@pytest.mark.parametrize("model", BASELINES)
def test_the_default_of_a_baseline_is_what_validation_chose(model):
    table = choices("mosi")
    chosen = table[table["chosen"] & (table["model"] == model)]
    if chosen.empty:
        pytest.skip(f"the candidates of {model} are not all published")
    default = next(c for c in study("mosi-baselines").configs if c.model == model)
    assert chosen["candidate"].item().items() <= default.hyper.items()
    # The run that was chosen is the default's first run: nothing else differs.
    assert default.run_id == chosen["run_id"].item()
    assert default.run_id in set(load_runs("mosi-tuning")["run_id"])
