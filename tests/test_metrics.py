"""Metrics against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from msa.train import metrics
from msa.train.metrics import METRICS, RATES, auilc, metric_keys, mwa, score


def labels(negative: int, neutral: int, positive: int) -> np.ndarray:
    return np.float32([-1.0] * negative + [0.0] * neutral + [1.0] * positive)


def percent(value: float) -> float:
    return round(100 * value, 2)


# Class counts of the test splits (MFMB-Net Table 1, MIT-FRNet Table 2). Worked out for
# CMU-MOSI, "non-negative" always: accuracy 307/686, F1 of that class
# 2*307/(2*307+379) = 0.6183, of the other class 0.
CONSTANT = [
    ((379, 30, 277), +0.5, "Has0_acc_2", "Has0_F1", (44.75, 61.83, 27.67)),
    ((379, 30, 277), -0.5, "Has0_acc_2", "Has0_F1", (55.25, 71.17, 39.32)),
    ((379, 30, 277), +0.5, "Non0_acc_2", "Non0_F1", (42.23, 59.38, 25.07)),
    ((379, 30, 277), -0.5, "Non0_acc_2", "Non0_F1", (57.77, 73.24, 42.31)),
    ((1350, 1025, 2284), +0.5, "Has0_acc_2", "Has0_F1", (71.02, 83.06, 58.99)),
    ((1350, 1025, 2284), +0.5, "Non0_acc_2", "Non0_F1", (62.85, 77.19, 48.51)),
]


@pytest.mark.parametrize(("counts", "guess", "accuracy", "f1", "expected"), CONSTANT)
def test_constant_predictors_on_mosi_and_mosei(counts, guess, accuracy, f1, expected):
    truth = labels(*counts)
    values = score(np.full(len(truth), guess, np.float32), truth, "mosi")
    found = values[accuracy], values[f"{f1}_swapped"], values[f1]
    assert tuple(map(percent, found)) == expected
    assert math.isnan(values["Corr"])


def test_constant_predictor_on_sims():
    truth = labels(248, 69, 140)
    values = score(np.full(len(truth), -0.5, np.float32), truth, "sims")
    assert percent(values["Mult_acc_2"]) == 69.37
    assert percent(values["F1_score_swapped"]) == 81.91
    assert percent(values["F1_score"]) == 56.82
    assert percent(values["Mult_acc_3"]) == 54.27
    assert math.isnan(values["Corr"])


def test_mosi_metrics_by_hand():
    #           has0     non0      7 classes     5 classes     |error|
    # 3.4, 3.0  hit      hit       3, 3 hit      2, 2 hit      0.4
    # 0.2, 0.0  hit      (dropped) 0, 0 hit      hit           0.2
    # -0.2, 0   miss     (dropped) -0, 0 hit     hit           0.2
    # 0.5, 1    hit      hit       0, 1 miss     miss          0.5
    # -2.5, -3  hit      hit       -2, -3 miss   -2, -2 hit    0.5
    # 0.0, -1   miss     hit       0, -1 miss    miss          1.0
    prediction = np.float32([3.4, 0.2, -0.2, 0.5, -2.5, 0.0])
    truth = np.float32([3.0, 0.0, 0.0, 1.0, -3.0, -1.0])
    values = score(prediction, truth, "mosi")
    assert tuple(values) == metric_keys("mosi")
    assert values["Has0_acc_2"] == pytest.approx(4 / 6)
    assert values["Non0_acc_2"] == 1.0
    assert values["Non0_F1"] == values["Non0_F1_swapped"] == 1.0
    assert values["Mult_acc_7"] == pytest.approx(3 / 6)
    assert values["Mult_acc_5"] == pytest.approx(4 / 6)
    assert values["MAE"] == pytest.approx(2.8 / 6)
    # Non-negative: truth 4, predicted 4, both 3, so F1 = 6/8; negative: 2, 2, 1: 2/4.
    assert values["Has0_F1"] == pytest.approx((4 * 0.75 + 2 * 0.5) / 6)


def test_f1_weights_follow_truth_or_prediction():
    # Positive: 2 right, 2 overlooked, F1 4/(4+2) = 2/3. Negative: 1 right, 2 false
    # alarms, F1 2/(2+2) = 1/2. True 4 to 1, predicted 2 to 3.
    truth = np.array([1.0, 1.0, 1.0, 1.0, -1.0])
    prediction = np.array([1.0, 1.0, -1.0, -1.0, -1.0])
    values = score(prediction, truth, "mosi")
    assert values["Has0_F1"] == pytest.approx((4 * 2 / 3 + 1 * 1 / 2) / 5)
    assert values["Has0_F1_swapped"] == pytest.approx((2 * 2 / 3 + 3 * 1 / 2) / 5)


@pytest.mark.parametrize("cut", [-9.0, -0.5, 0.0, 9.0])
def test_f1_is_scikit_learns(cut):
    """To the bit; the outer cuts leave a class never predicted or never true."""
    rng = np.random.default_rng(0)
    for clips in (1, 2, 5, 40, 686):
        truth = rng.integers(-3, 4, clips).astype(float)
        prediction = rng.normal(truth, 2.0).round(1)
        for p, t in ((prediction - cut, truth), (prediction, truth - cut)):
            values = score(p, t, "mosi")
            told = t != 0
            for key, fact, guess in (
                ("Has0_F1", t >= 0, p >= 0),
                ("Non0_F1", (t > 0)[told], (p > 0)[told]),
            ):
                if fact.size:
                    assert values[key] == weighted(fact, guess)
                    assert values[f"{key}_swapped"] == weighted(guess, fact)


def weighted(truth: np.ndarray, prediction: np.ndarray) -> float:
    return f1_score(truth, prediction, average="weighted", zero_division=0)


def test_correlation_by_hand():
    # Deviations (-1, 0, 1) and (-2, 1, 1): 3 / sqrt(2 * 6).
    values = score([0.0, 1.0, 2.0], [-1.0, 2.0, 2.0], "mosi")
    assert values["Corr"] == pytest.approx(3 / math.sqrt(12))


def test_constant_labels_have_no_correlation():
    assert math.isnan(score([0.1, 0.2], [1.0, 1.0], "mosi")["Corr"])


def test_one_answer_up_to_rounding_has_no_correlation():
    answer = np.float32(0.7310586)
    prediction = np.full(6, answer)
    prediction[[1, 4]] = np.nextafter(answer, np.float32(1))
    truth = np.array([-1.0, 2.0, 0.0, 1.0, 3.0, -2.0])
    assert math.isnan(score(prediction, truth, "mosi")["Corr"])
    found = metrics.score_resamples(prediction, truth, "mosi", np.ones((2, 6)))
    assert np.isnan(found["Corr"]).all()
    # Answers that differ by more than rounding do correlate, however little they do.
    near = answer + np.float32(1e-5) * truth.astype(np.float32)
    assert score(near, truth, "mosi")["Corr"] == pytest.approx(1.0, abs=1e-2)


def test_only_zero_labels_leave_non0_undefined():
    values = score([0.1, -0.2], [0.0, 0.0], "mosi")
    assert math.isnan(values["Non0_acc_2"])
    assert math.isnan(values["Non0_F1"])
    assert math.isnan(values["Non0_F1_swapped"])
    assert values["Has0_acc_2"] == 0.5


def test_sims_clips_before_everything():
    # Clipped to 1 and -1: no error at all, though the raw scores are far off.
    values = score([5.0, -7.0], [1.0, -1.0], "sims")
    assert values["MAE"] == 0.0
    assert values["Corr"] == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sims_cuts_belong_to_the_bin_below(dtype):
    # Predictions on the cuts; the labels sit in the bin below each of them.
    prediction = np.array([-0.7, -0.1, 0.1, 0.7, 0.0], dtype=dtype)
    truth = np.array([-0.8, -0.6, 0.0, 0.6, -0.2], dtype=dtype)
    values = score(prediction, truth, "sims")
    assert values["Mult_acc_5"] == pytest.approx(4 / 5)  # 0.0 and -0.2 differ
    assert values["Mult_acc_2"] == pytest.approx(4 / 5)  # 0.1 and 0.0 differ
    # Acc-3: negative for the first two, neutral, positive; 0.0 is not negative.
    assert values["Mult_acc_3"] == pytest.approx(4 / 5)


def test_every_sims_label_falls_into_its_class():
    truth = np.float32(np.arange(-5, 6) * 0.2)
    # -1, -.8 | -.6 -.4 -.2 | 0 | .2 .4 .6 | .8 1: five classes with these centres.
    centres = np.float32([-0.9] * 2 + [-0.4] * 3 + [0.0] + [0.4] * 3 + [0.9] * 2)
    assert score(centres, truth, "sims")["Mult_acc_5"] == 1.0


@pytest.mark.parametrize("scale", metrics.SCALES)
def test_resamples_equal_repeated_clips(scale):
    rng = np.random.default_rng(0)
    limit = 3.5 if scale == "mosi" else 1.2
    truth = np.float32(np.round(rng.uniform(-limit, limit, 40) * 5) / 5)
    truth = np.clip(truth, -3, 3)
    prediction = np.float32(truth + rng.normal(0, 0.8, 40))
    rows = rng.integers(40, size=(25, 40))
    rows[0] = 7  # one clip only: constant, so Corr is undefined
    counts = np.stack([np.bincount(row, minlength=40) for row in rows])
    found = metrics.score_resamples(prediction, truth, scale, counts)
    for b, row in enumerate(rows):
        expected = score(prediction[row], truth[row], scale)
        assert {key: found[key][b] for key in found} == pytest.approx(
            expected, nan_ok=True
        )
    assert math.isnan(found["Corr"][0])


def test_auilc_is_the_trapezoid():
    # Weights 0.05, 0.1 x 9, 0.05. A straight line from 1 to 0 covers 1/2.
    assert auilc([1 - r for r in RATES], RATES) == pytest.approx(0.5)
    only_first = [1.0] + [0.0] * 10
    assert auilc(only_first, RATES) == pytest.approx(0.05)
    assert auilc([0.0, *only_first[:-1]], RATES) == pytest.approx(0.1)
    assert auilc([0.8, 0.6], [0.0, 0.5]) == pytest.approx(0.35)


def test_mwa_is_no_average():
    assert mwa([100.0] * 11, RATES, 10) == pytest.approx(55.0)
    assert mwa([100.0] * 11, RATES, 11) == pytest.approx(50.0)
    assert mwa([0.0] * 10 + [100.0], RATES, 10) == 0.0
    assert mwa([0.0, 100.0] + [0.0] * 9, RATES, 10) == pytest.approx(9.0)


def test_aggregates_keep_leading_axes_and_missing_values():
    values = np.ones((2, 11))
    values[1, 4] = np.nan
    assert auilc(values, RATES) == pytest.approx([1.0, np.nan], nan_ok=True)
    assert mwa(values, RATES, 11) == pytest.approx([0.5, np.nan], nan_ok=True)
    values[0, 10] = np.nan  # weighs nothing
    assert mwa(values, RATES, 11)[0] == pytest.approx(0.5)
    assert math.isnan(auilc(values, RATES)[0])


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        ([1.0, np.nan], [1.0, 1.0], "prediction has 1 value.* row 1: nan"),
        ([1.0, 1.0], [np.inf, 1.0], "truth has 1 value.* row 0: inf"),
        ([1.0], [1.0, 1.0], "got 1 and 2"),
        ([[1.0]], [[1.0]], r"prediction must be .* got \(1, 1\)"),
        ([], [], "non-empty"),
        (["a"], [1.0], "prediction must hold numbers"),
    ],
)
def test_bad_input_is_named(prediction, truth, message):
    with pytest.raises(ValueError, match=message):
        score(prediction, truth, "mosi")


def test_unknown_scale_and_bad_rates_are_refused():
    with pytest.raises(ValueError, match="unknown label scale 'likert'"):
        score([1.0], [1.0], "likert")
    with pytest.raises(ValueError, match="increasing"):
        auilc([1.0, 2.0], [0.5, 0.0])
    with pytest.raises(ValueError, match="10 or 11"):
        mwa([1.0] * 11, RATES, 9)
    with pytest.raises(ValueError, match=r"0\.0, 0\.1"):
        mwa([1.0] * 3, [0.0, 0.5, 1.0], 10)
    with pytest.raises(ValueError, match="one value for each"):
        auilc([1.0], RATES)


def test_registry_describes_every_metric():
    assert set(METRICS) == {
        key for scale in metrics.SCALES for key in metric_keys(scale)
    }
    assert METRICS["Has0_acc_2"].name == "Acc-2 (Has0)"
    assert [key for key, m in METRICS.items() if not m.higher_is_better] == ["MAE"]
    assert [key for key, m in METRICS.items() if not m.is_percent] == ["MAE", "Corr"]
    assert all(m.definition.endswith(".") for m in METRICS.values())
