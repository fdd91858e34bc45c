"""The metrics of the field, exactly as the papers' code computes them.

Everything is a fraction or a raw score here, never a percentage. A metric that is not
defined (the correlation of a constant predictor) is ``nan``, never 0, and whatever is
averaged from it is ``nan`` too.

Two scales exist. ``"mosi"``: labels from -3 to 3 (CMU-MOSI, CMU-MOSEI, the demo set),
predictions used unclipped. ``"sims"``: labels from -1 to 1 (CH-SIMS), predictions and
labels clipped to that range first.

Why F1 comes twice. The weighted F1 averages the F1 of both classes with the frequency
of each class in the *truth*. The code behind TFR-Net, MFMB-Net and MIT-FRNet hands the
two arrays over in the wrong order, so that the classes are weighted by how often they
were *predicted*. A predictor that always answers "positive" on the CMU-MOSI test split
then reaches 61.83 % where the correct weighting gives 27.67 %. Both are reported: the
correct one to compare systems, the swapped one to compare with the printed tables.

The released code rounds MOSI and MOSEI values to four decimals in every run before it
averages runs; full precision is kept here (a difference below 0.005 points).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msa.data.numbers import RATES, correlation, is_constant

SCALES = ("mosi", "sims")
"""Label scales: -3 to 3 and -1 to 1."""


@dataclass(frozen=True)
class Metric:
    """How a metric is called, read and printed.

    Attributes
    ----------
    name : str
        Display name, as in the papers' table heads.
    higher_is_better : bool
        Direction of improvement.
    is_percent : bool
        True if tables print it times 100.
    definition : str
        One sentence.
    """

    name: str
    higher_is_better: bool
    is_percent: bool
    definition: str


def _share(name: str, definition: str) -> Metric:
    return Metric(name, higher_is_better=True, is_percent=True, definition=definition)


_CORRECT = "Class F1 scores averaged by how often each class is true"
_SWAPPED = (
    "Class F1 scores averaged by how often each class is predicted, as the TFR-Net "
    "family prints it"
)

METRICS: dict[str, Metric] = {
    "Has0_acc_2": _share(
        "Acc-2 (Has0)",
        "Share of all clips whose class, non-negative or negative, is predicted.",
    ),
    "Has0_F1": _share("F1 (Has0)", f"{_CORRECT}; non-negative against negative."),
    "Has0_F1_swapped": _share(
        "F1 swapped (Has0)", f"{_SWAPPED}; non-negative against negative."
    ),
    "Non0_acc_2": _share(
        "Acc-2 (Non0)",
        "Share of the clips with a non-zero label whose class, positive or not, is "
        "predicted.",
    ),
    "Non0_F1": _share(
        "F1 (Non0)", f"{_CORRECT}; positive against the rest, zero labels dropped."
    ),
    "Non0_F1_swapped": _share(
        "F1 swapped (Non0)",
        f"{_SWAPPED}; positive against the rest, zero labels dropped.",
    ),
    "Mult_acc_2": _share(
        "Acc-2",
        "Share of clips whose class, positive or not, is predicted; zero counts as "
        "not positive.",
    ),
    "F1_score": _share("F1", f"{_CORRECT}; positive against the rest."),
    "F1_score_swapped": _share("F1 swapped", f"{_SWAPPED}; positive against the rest."),
    "Mult_acc_3": _share(
        "Acc-3", "Share of clips in the right one of three bins cut at -0.1 and 0.1."
    ),
    "Mult_acc_5": _share(
        "Acc-5",
        "Share of clips in the right one of five classes: scores clipped to [-2, 2] "
        "and rounded (CMU-MOSI, CMU-MOSEI), or cut at -0.7, -0.1, 0.1, 0.7 (CH-SIMS).",
    ),
    "Mult_acc_7": _share(
        "Acc-7",
        "Share of clips in the right one of seven classes: scores clipped to [-3, 3] "
        "and rounded, halves to even.",
    ),
    "MAE": Metric(
        "MAE",
        higher_is_better=False,
        is_percent=False,
        definition="Mean absolute error of the score, in label units.",
    ),
    "Corr": Metric(
        "Corr",
        higher_is_better=True,
        is_percent=False,
        definition="Pearson correlation of predicted and true scores; undefined for "
        "a constant predictor.",
    ),
}
"""Every metric by its key, in the order that tables use."""

_KEYS = {
    "mosi": (
        "Has0_acc_2",
        "Has0_F1",
        "Has0_F1_swapped",
        "Non0_acc_2",
        "Non0_F1",
        "Non0_F1_swapped",
        "Mult_acc_5",
        "Mult_acc_7",
        "MAE",
        "Corr",
    ),
    "sims": (
        "Mult_acc_2",
        "F1_score",
        "F1_score_swapped",
        "Mult_acc_3",
        "Mult_acc_5",
        "MAE",
        "Corr",
    ),
}


def metric_keys(scale: str) -> tuple[str, ...]:
    """Return the metric keys of a label scale, in table order.

    Raises
    ------
    ValueError
        If the scale is unknown.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown label scale {scale!r}; known: {', '.join(SCALES)}")
    return _KEYS[scale]


def score(prediction: ArrayLike, truth: ArrayLike, scale: str) -> dict[str, float]:
    """Score predicted sentiment against the labels.

    Parameters
    ----------
    prediction, truth : array of float, shape (N,)
        Predicted and true scores, in label units.
    scale : {"mosi", "sims"}
        Label scale, which decides the metrics and their classes.

    Returns
    -------
    dict of str to float
        One value per key of ``metric_keys(scale)``; shares lie between 0 and 1.
        ``Corr`` is nan if predictions or labels are constant; the Non0 metrics are nan
        if every label is 0.

    Raises
    ------
    ValueError
        If shapes differ, arrays are empty or not one-dimensional, or values are not
        finite; the message names the array and the first bad row.

    Notes
    -----
    CH-SIMS labels are multiples of 0.2 stored as float32, so none of them lies on a
    cut of Acc-3 or Acc-5. A prediction may: float32(0.1) is slightly more than the
    float64 0.1 and would land in the upper bin, float32(0.7) slightly less and would
    stay in the lower one. Scores and cuts are therefore both taken as float32 before
    they are compared, as in the released code, and a score on a cut always belongs to
    the bin below it, whatever the type of the input.
    """
    prediction, truth = _validated(prediction, truth, scale)
    if scale == "sims":
        prediction, truth = _clipped(prediction), _clipped(truth)
    values: dict[str, float] = {}
    for key, (guess, fact, counted) in _classes(prediction, truth, scale).items():
        guess, fact = guess[counted], fact[counted]
        values[key] = float(np.mean(guess == fact)) if fact.size else np.nan
        if key in _F1_OF:
            f1 = _F1_OF[key]
            counts = np.sum(_confusion(guess, fact), axis=1, keepdims=True)  # (4, 1)
            _, correct, swapped = _binary_scores(*counts)
            values[f1], values[f"{f1}_swapped"] = float(correct[0]), float(swapped[0])
    values["MAE"] = float(np.abs(prediction - truth).mean())
    values["Corr"] = correlation(prediction, truth)
    return {key: values[key] for key in metric_keys(scale)}


def score_resamples(
    prediction: ArrayLike, truth: ArrayLike, scale: str, counts: ArrayLike
) -> dict[str, NDArray[np.float64]]:
    """Score many resamples of the same clips at once.

    Every metric is a function of a few sums over clips, and a resample only changes
    how often each clip enters them: one matrix product scores all resamples.

    Parameters
    ----------
    prediction, truth : array of float, shape (N,)
        As in :func:`score`.
    scale : {"mosi", "sims"}
        As in :func:`score`.
    counts : array of int, shape (B, N)
        How often each clip was drawn in each of ``B`` resamples.

    Returns
    -------
    dict of str to array of float64, shape (B,)
        Row ``b`` equals ``score`` on the clips of resample ``b``, each repeated
        ``counts[b]`` times.

    Raises
    ------
    ValueError
        As :func:`score`; also if ``counts`` does not have one column per clip.
    """
    prediction, truth = _validated(prediction, truth, scale)
    counts = np.asarray(counts, dtype=float)
    if counts.ndim != 2 or counts.shape[1] != len(truth):
        raise ValueError(
            f"counts must have shape (resamples, {len(truth)}), got {counts.shape}"
        )
    total = counts.sum(1)
    if not (total > 0).all():
        raise ValueError("every resample must draw at least one clip")
    if scale == "sims":
        prediction, truth = _clipped(prediction), _clipped(truth)

    columns: dict[str, list[NDArray]] = {}
    for key, (guess, fact, counted) in _classes(prediction, truth, scale).items():
        cells = _confusion(guess, fact) if key in _F1_OF else [guess == fact]
        columns[key] = [cell & counted for cell in cells]
    # Centred on the whole sample, so that the sums of squares do not cancel.
    p, t = (
        np.zeros(len(x)) if is_constant(x) else x - x.mean()
        for x in (prediction, truth)
    )
    columns["MAE"] = [np.abs(prediction - truth)]
    columns["Corr"] = [p, t, p * p, t * t, p * t]

    matrix = np.stack([cell for cells in columns.values() for cell in cells], axis=1)
    sums = counts @ matrix.astype(float)  # (B, N) (N, columns) -> (B, columns)
    values: dict[str, NDArray[np.float64]] = {}
    for key, cells in columns.items():
        own, sums = sums[:, : len(cells)].T, sums[:, len(cells) :]
        if key in _F1_OF:
            f1 = _F1_OF[key]
            values[key], values[f1], values[f"{f1}_swapped"] = _binary_scores(*own)
        elif key == "Corr":
            mp, mt, mpp, mtt, mpt = own / total
            spreads = _variance(p, mp, mpp, counts) * _variance(t, mt, mtt, counts)
            values[key] = _ratio(mpt - mp * mt, np.sqrt(spreads))
        else:
            values[key] = own[0] / total
    return {key: values[key] for key in metric_keys(scale)}


def auilc(values: ArrayLike, rates: ArrayLike) -> float | NDArray[np.float64]:
    """Area under the indicator's line chart over missing rates (MFMB-Net eq. 20).

    Parameters
    ----------
    values : array of float, shape (..., R)
        A metric at each rate; leading axes (seeds, resamples) are kept.
    rates : array of float, shape (R,)
        Missing rates, strictly increasing, at least two.

    Returns
    -------
    float or array of float, shape (...)
        Trapezoid area. From rate 0 to 1 the weights add up to 1, so it reads as an
        average. nan if any value is nan.

    Raises
    ------
    ValueError
        If the shapes do not match or the rates do not increase.
    """
    values, rates = np.asarray(values, dtype=float), np.asarray(rates, dtype=float)
    if rates.ndim != 1 or values.shape[-1:] != rates.shape or len(rates) < 2:
        raise ValueError(
            "AUILC needs one value for each of at least two rates, got values of shape "
            f"{values.shape} for rates of shape {rates.shape}"
        )
    if not (np.diff(rates) > 0).all():
        raise ValueError(f"AUILC needs increasing missing rates, got {rates.tolist()}")
    area = np.trapezoid(values, rates, axis=-1)
    return float(area) if area.ndim == 0 else area


def mwa(
    values: ArrayLike, rates: ArrayLike, divisor: int
) -> float | NDArray[np.float64]:
    """Missing-weighted average of a metric over missing rates (MIT-FRNet eq. 25).

    A value at rate ``r`` weighs ``1 - r``. Equation (25) divides by an ``I`` that can
    be read as 10 or as 11, the number of rates. The weights add up to 5.5, so this is
    no average: a metric that is 1 at every rate gives 0.55 or 0.5. The value at rate
    1.0 weighs nothing, and need not be defined (Corr of a constant).

    Parameters
    ----------
    values : array of float, shape (..., 11)
        A metric at the rates 0.0, 0.1, ..., 1.0; leading axes are kept.
    rates : array of float, shape (11,)
        Those rates.
    divisor : {10, 11}
        The reading of ``I``.

    Returns
    -------
    float or array of float, shape (...)
        nan if any value but the one at rate 1.0 is nan.

    Raises
    ------
    ValueError
        If the divisor or the rates are others.
    """
    if divisor not in (10, 11):
        raise ValueError(f"the divisor of MWA is 10 or 11, got {divisor!r}")
    values, rates = np.asarray(values, dtype=float), np.asarray(rates, dtype=float)
    if rates.shape != (11,) or not np.allclose(rates, RATES):
        raise ValueError(
            "MWA is defined on the missing rates 0.0, 0.1, ..., 1.0, got "
            f"{rates.tolist()}"
        )
    if values.shape[-1:] != rates.shape:
        raise ValueError(f"MWA needs eleven values, got shape {values.shape}")
    weights = 1 - rates
    total = np.where(weights > 0, values * weights, 0.0).sum(-1) / divisor
    return float(total) if total.ndim == 0 else total


_F1_OF = {
    "Has0_acc_2": "Has0_F1",
    "Non0_acc_2": "Non0_F1",
    "Mult_acc_2": "F1_score",
}
"""The F1 that shares its two classes with each binary accuracy."""


class _Classes(NamedTuple):
    """Predicted and true class of every clip, and which clips count, each (N,)."""

    guess: NDArray
    fact: NDArray
    counted: NDArray[np.bool_]


def _classes(prediction: NDArray, truth: NDArray, scale: str) -> dict[str, _Classes]:
    """Classes of every clip by accuracy key; booleans where there are two classes."""
    every = np.ones(len(truth), dtype=bool)
    if scale == "sims":
        return {
            "Mult_acc_2": _Classes(prediction > 0, truth > 0, every),
            "Mult_acc_3": _Classes(
                _bins(prediction, -0.1, 0.1), _bins(truth, -0.1, 0.1), every
            ),
            "Mult_acc_5": _Classes(
                _bins(prediction, -0.7, -0.1, 0.1, 0.7),
                _bins(truth, -0.7, -0.1, 0.1, 0.7),
                every,
            ),
        }
    return {
        "Has0_acc_2": _Classes(prediction >= 0, truth >= 0, every),
        "Non0_acc_2": _Classes(prediction > 0, truth > 0, truth != 0),
        "Mult_acc_5": _Classes(_rounded(prediction, 2), _rounded(truth, 2), every),
        "Mult_acc_7": _Classes(_rounded(prediction, 3), _rounded(truth, 3), every),
    }


def _clipped(scores: NDArray) -> NDArray:
    return np.clip(scores, -1.0, 1.0)


def _bins(scores: NDArray, *cuts: float) -> NDArray:
    """Bin number of each score, bins open on the left and closed on the right.

    Compared as float32 on both sides: see the notes of :func:`score`.
    """
    return np.searchsorted(np.float32(cuts), np.float32(scores), side="left")


def _rounded(scores: NDArray, limit: int) -> NDArray:
    """Nearest integer after clipping to [-limit, limit]; halves go to even."""
    return np.round(np.clip(scores, -limit, limit))


def _confusion(guess: NDArray, fact: NDArray) -> list[NDArray]:
    """Which clips are tp, fn, fp and tn: what :func:`_binary_scores` counts."""
    return [fact & guess, fact & ~guess, ~fact & guess, ~fact & ~guess]


def _ratio(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _binary_scores(
    tp: NDArray, fn: NDArray, fp: NDArray, tn: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """Accuracy, weighted F1 and swapped F1 from confusion counts, each of shape (B,).

    The F1 of a class does not change when prediction and truth change places; only
    the weights do. A class that occurs on neither side has weight 0.
    """
    total = tp + fn + fp + tn
    errors = fp + fn
    positive = np.nan_to_num(_ratio(2 * tp, 2 * tp + errors))
    negative = np.nan_to_num(_ratio(2 * tn, 2 * tn + errors))
    correct = (tp + fn) * positive + (tn + fp) * negative
    swapped = (tp + fp) * positive + (tn + fn) * negative
    return _ratio(tp + tn, total), _ratio(correct, total), _ratio(swapped, total)


def _variance(
    scores: NDArray, mean: NDArray, square: NDArray, counts: NDArray
) -> NDArray[np.float64]:
    """Variance of every resample, shape (B,), from its means of x and x².

    Exactly 0 where all drawn scores are equal: rounding errors must not look like a
    spread that something could correlate with.
    """
    variance = square - mean**2
    suspects = variance <= 1e-9 * square
    constant = np.ptp(scores) == 0
    for row in np.flatnonzero(suspects):
        if constant or np.ptp(scores[counts[row] > 0]) == 0:
            variance[row] = 0.0
    return np.maximum(variance, 0.0)


def _validated(
    prediction: ArrayLike, truth: ArrayLike, scale: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    metric_keys(scale)
    arrays = []
    for name, values in (("prediction", prediction), ("truth", truth)):
        array = np.asarray(values)
        if not (
            np.issubdtype(array.dtype, np.floating)
            or np.issubdtype(array.dtype, np.integer)
        ):
            raise ValueError(f"{name} must hold numbers, got dtype {array.dtype}")
        if array.ndim != 1 or not array.size:
            raise ValueError(
                f"{name} must be a non-empty array of shape (N,), got {array.shape}"
            )
        array = array.astype(float)
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            raise ValueError(
                f"{name} has {bad.size} value(s) that are not finite, first at row "
                f"{bad[0]}: {array[bad[0]]}"
            )
        arrays.append(array)
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(
            "prediction and truth must have one value per clip, got "
            f"{len(arrays[0])} and {len(arrays[1])}"
        )
    return arrays[0], arrays[1]
