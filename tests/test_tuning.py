"""The choice of settings: by validation MAE, of complete sets, and then the default."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from msa.report import tuning
from msa.study.grids import BASELINES, CANDIDATES, study
from msa.study.results import load_runs
from msa.study.tuning import choices
from msa.train.config import RunConfig


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


@pytest.mark.parametrize(
    ("dataset", "model"), [*(("mosi", m) for m in BASELINES), ("sims", "MFMB-Net")]
)
def test_who_takes_what_validation_chose_has_it_as_default(dataset, model):
    table = choices(dataset)
    chosen = table[table["chosen"] & (table["model"] == model)]
    if chosen.empty:
        pytest.skip(f"the candidates of {model} are not all published")
    default = RunConfig.resolve(dataset=dataset, model=model)
    assert chosen["candidate"].item().items() <= default.hyper.items()
    # The run that was chosen is the default's first run: nothing else differs.
    assert default.run_id == chosen["run_id"].item()
    assert default.run_id in set(load_runs(f"{dataset}-tuning")["run_id"])


@pytest.mark.parametrize(
    ("dataset", "model", "published"),
    [
        ("mosi", "LMF", {"batch_size": 64, "lr": 1e-3, "factor_lr": 1e-3}),
        ("mosi", "MulT", {"batch_size": 128}),
        ("mosi", "MISA", {"lr": 1e-4}),
        ("mosi", "MMIM", {"lr": 1e-3}),
        ("sims", "MFMB-Net", {"lr": 2e-3}),
    ],
)
def test_a_tuned_setting_is_for_the_features_it_was_tuned_on(dataset, model, published):
    ours, theirs = (
        RunConfig.resolve(dataset=dataset, model=model, view=view)
        for view in ("clip-context", "unaligned")
    )
    changed = {k: v for k, v in theirs.hyper.items() if v != ours.hyper[k]}
    assert changed == published
    assert not ours.unusual
    assert not theirs.unusual


def test_the_page_marks_the_lowest_error_and_names_who_keeps_a_higher_one(monkeypatch):
    errors = {"TFN": (0.9, 0.7, 0.8, 0.75), "MIT-FRNet": (0.81, 0.9, 0.8, 0.95)}
    rows = []
    for config in study("mosi-tuning").configs:
        if config.model in errors:
            place = sum(row["model"] == config.model for row in rows)
            row = {**config.model_dump(), "run_id": config.run_id, "train_MAE": 0.5}
            row["hyper"] = json.dumps(config.hyper)
            rows.append(row | {"valid_MAE": errors[config.model][place]})
    frame = pd.DataFrame(rows[:-1])  # the last one of MIT-FRNet is not published
    for place in ("msa.study.tuning.load_runs", "msa.report.tuning.load_runs"):
        monkeypatch.setattr(place, lambda *_: frame)
    table = tuning.table("mosi")
    error = "MAE (label units), validation"
    bold = table.marks[error] == "best"
    assert table.cells.loc[bold, ["System", error]].to_numpy().tolist() == [
        ["TFN", "0.700"]
    ]
    assert "--set lr=0.0005" in table.commands[2][0]
    assert table.cells["Setting"][0] == "lr 0.001, batch size 32"
    # TFN's published setting is the one that is used; here it is not the best.
    assert table.cells["Used"].tolist() == ["used", "", "", "", "used", "", ""]
    assert tuning.in_words("mosi") == (
        "CMU-MOSI: 0 of 1 systems use the setting with the lowest validation error of "
        "their four, one run each (missing rate 0.0, seed 1111). The published setting "
        "is kept by TFN (0.200 above)."
    )
    frame = pd.DataFrame(rows)
    told = tuning.in_words("mosi")
    assert told.endswith("kept by TFN (0.200 above), MIT-FRNet (0.010 above).")
    frame = frame[:0]
    assert "no system has all four" in tuning.in_words("mosi")
