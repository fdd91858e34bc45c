"""Runs with one change beside the same runs without: pairs, means, what is told."""

import json

import pandas as pd
import pytest

from msa.report import twins, untrained
from msa.study.results import config_of
from msa.train.config import RunConfig


def row(errors, model="LMF", **fields):
    config = RunConfig.resolve(dataset="sims", model=model, **fields)
    scores = dict(zip(("train_MAE", "valid_MAE", "test_MAE"), errors, strict=True))
    fields = {**config.model_dump(), "hyper": json.dumps(config.hyper)}
    return fields | {"run_id": config.run_id} | scores


@pytest.fixture
def published(monkeypatch):
    """Two pairs of LMF and a scaled run of MISA without its twin."""
    scaled = pd.DataFrame(
        [
            row((0.3, 0.5, 0.6), seed=1111, text_scale="train"),
            row((0.4, 0.4, 0.8), seed=111, text_scale="train"),
            row((0.2, 0.3, 0.4), "MISA", text_scale="train"),
        ]
    )
    plain = [
        row((0.35, 0.4, 0.5), seed=1111),
        row((0.599, 0.6, 0.7), seed=111),
        row((0.6, 0.6, 0.7), "constant"),
    ]
    every = pd.concat([scaled, pd.DataFrame(plain)], ignore_index=True)
    frames = {"sims-text-scale": scaled, None: every}
    for module in (twins, untrained):
        monkeypatch.setattr(module, "load_runs", lambda name=None: frames[name].copy())
    monkeypatch.setattr(untrained, "main_runs", lambda frame: frame)
    monkeypatch.setattr(twins, "describe", lambda runs: f"{len(runs)} runs.")
    return frames


def test_a_run_is_compared_with_its_own_twin(published):
    table = twins.table(twins.SCALE, "sims")
    assert table.cells["System"].tolist() == ["LMF"]  # MISA has no twin
    cells = table.cells.iloc[0]
    assert cells["Seeds"] == "2"
    assert [cells[f"Validation, {way}"] for way in twins.SCALE.ways] == [
        "0.500",
        "0.450",
    ]
    assert [cells[f"Test, {way}"] for way in twins.SCALE.ways] == ["0.600", "0.700"]
    assert len(table.commands[0]) == 2
    assert all("--text-scale train" in command for command in table.commands[0])
    # One of two is lower, 0.05 on average; one fitted nothing, now none does.
    assert twins.scale_in_words("sims") == (
        "CH-SIMS: with scaled text the validation error is lower in 1 of 2 runs, by "
        "0.050 on average; 1 of these runs fit their own training split no better than "
        "one answer with the features as they are, 0 with scaled ones."
    )


def test_a_published_run_keeps_its_scale(published):
    first = published["sims-text-scale"].iloc[0]
    config = config_of(first.to_dict())
    assert config.text_scale == "train"
    assert config.run_id == first["run_id"]


def test_before_anything_is_published_it_says_so(published):
    published["sims-text-scale"] = published["sims-text-scale"][:0]
    assert "study run sims-text-scale" in twins.table(twins.SCALE, "sims").data
    assert "no run with scaled text" in twins.scale_in_words("sims")


def test_a_kept_prompt_is_compared_in_the_same_way(published):
    kept = pd.DataFrame([row((0.3, 0.42, 0.49), seed=1111, spare_prompt=True)])
    published["sims-prompt"] = kept
    cells = twins.table(twins.PROMPT, "sims").cells.iloc[0]
    assert (cells["Test, lost"], cells["Test, kept"]) == ("0.500", "0.490")
    assert twins.prompt_in_words("sims") == (
        "CH-SIMS: with the prompt kept the validation error is lower in 0 of 1 runs, "
        "by -0.020 on average, and the test error is lower in 1 of 1 runs, by 0.010 on "
        "average."
    )
