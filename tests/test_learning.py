"""Every system learns the demo set, as far as its ground truth lets it, and no further.

The demo set says what there is to learn. A clip's score is the sum of a part that all
modalities share and one private part each, so somebody who reads one modality without
error reaches a correlation well below 1. :func:`ceiling` measures that limit on the
test clips with the ground truth in hand: the levels that the words state, or the mean
of the informative channels with the right signs. A system must reach ``SHARE`` of the
limit of what it reads. With everything missing nothing is left to learn, and a system
that still beats chance has seen what it should not.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from economy import SHALLOW, of_many
from test_models import OURS

from msa.data.demo import make_demo
from msa.data.load import load
from msa.models.registry import MODELS
from msa.study.results import load_runs
from msa.train.config import RunConfig
from msa.train.run import run

SHARE = 0.6
"""Of the ceiling's correlation: a short training need not get everything."""

CHANCE = 0.3
"""Correlations of 150 unrelated pairs have a standard error of 0.08; this is 3.7."""

READS = {"FC(A)": "audio", "FC(V)": "vision"}
"""Systems that do not read the text. The others must do as well as the text lets them,
which tells far more than audio and vision."""

EPOCHS = {
    **{"MFMB-Net": 1, "MIT-FRNet": 1, "TFR-Net": 1},
    **{"MulT": 2, "TFN": 2, "MISA": 4, "MMIM": 8},
}
"""Epochs of the systems whose steps are costly; the others have a dozen quick ones."""

BATCH = {"MIT-FRNet": 24, "TFR-Net": 24, "MulT": 32}
"""Batch sizes, else 16: the clips are few, and few epochs must make enough steps."""

QUICK = ("FC(T)", "Concat(V,A,T)", "Self-MM", "text-linear")
"""Systems that are tried at half of the steps as well. None that reads audio or vision
alone: half of the steps still tell most of what their slow signals tell."""

SYSTEMS = [name for name in MODELS if name != "constant"]

USUAL = (*OURS, *READS, "FC(T)", "Concat(V,A,T)", "text-linear")
"""What ``make test`` tries of them: both papers, and what costs little."""


def skill(name: str, rate: float, epochs: int) -> tuple[float, float]:
    """Return a system's test Corr, and its MAE over that of the best constant."""
    config = RunConfig.resolve(
        dataset="demo",
        model=name,
        missing_rate=rate,
        max_epochs=epochs,
        hyper={"batch_size": BATCH.get(name, 16), **SHALLOW.get(name, {})},
    )
    scores = run(config).metrics["test"]
    # A system that learned to say the same of every clip has no correlation.
    return np.nan_to_num(scores["Corr"]), scores["MAE"] / constant_mae()


@cache
def constant_mae() -> float:
    """MAE of the training labels' median."""
    config = RunConfig.resolve(dataset="demo", model="constant")
    return run(config).metrics["test"]["MAE"]


@cache
def ceiling(modality: str) -> float:
    """Correlation with the label of the best plain reading of one modality."""
    split, truth = load("demo").splits["test"], make_demo().truth
    if modality == "text":
        read = np.array([np.mean(levels) for levels in truth.splits["test"].levels])
    else:
        informative = truth.sensors[modality].informative
        signs = (-1.0) ** np.arange(informative)
        steps = getattr(split, modality)[:, :, :informative].numpy()  # 0 at padding
        count = split.padding_masks()[modality].sum(1).numpy()
        read = (steps.sum(1) / count[:, None]) @ signs
    return float(np.corrcoef(read, split.labels.numpy())[0, 1])


def test_the_ceilings_are_those_of_the_generator():
    # Variances: shared 0.67, private 1.44, 0.36, 0.36, score 2.83. Text shows 2.11 of
    # it: (2.11 / 2.83)^0.5 = 0.86, less the rounding to whole levels. Audio shows 1.03:
    # at most (1.03 / 2.83)^0.5 = 0.60, before its noise. Vision the same, less noise.
    assert 0.75 < ceiling("text") < 0.92
    assert 0.2 < ceiling("audio") < ceiling("vision") < 0.70


@pytest.mark.parametrize("name", of_many(SYSTEMS, lambda name: name in USUAL))
def test_a_system_learns_what_its_modality_tells_and_nothing_from_nothing(name):
    epochs = EPOCHS.get(name, 12)
    corr, relative_mae = skill(name, 0.0, epochs)
    wanted = SHARE * ceiling(READS.get(name, "text"))
    assert corr > wanted
    # For normal errors the MAE falls with (1 - Corr^2)^0.5.
    assert relative_mae < math.sqrt(1 - wanted**2)

    # An epoch would do for what sees too much to show, but for audio or vision alone.
    all_of_them = name in READS or name in QUICK
    blind_corr, blind_mae = skill(name, 1.0, epochs if all_of_them else 1)
    assert abs(blind_corr) < CHANCE
    assert blind_mae > 0.95
    assert corr > blind_corr + 0.1
    assert relative_mae < blind_mae - 0.03

    if name in QUICK:
        half_corr, half_mae = skill(name, 0.5, epochs)
        assert blind_corr < half_corr < corr
        assert relative_mae < half_mae < blind_mae


def test_published_demo_runs_at_full_depth_lose_with_the_missing_rate():
    # The tests above take shallow models; study `demo` takes the papers' depths.
    runs = load_runs("demo")
    if runs.empty:
        pytest.skip("no published results")
    errors = runs.pivot_table(index="model", columns="missing_rate", values="test_MAE")
    constant, trained = errors.loc["constant"], errors.drop(index="constant")
    assert {*OURS, "TFR-Net", "text-linear"} <= set(trained.index)
    assert (trained[0.0] < 0.85 * constant[0.0]).all()
    assert (trained[0.0] < trained[0.5]).all()
    assert (trained[0.5] < trained[1.0]).all()
    assert (trained[1.0] > 0.95 * constant[1.0]).all()
