"""Check 4: by which definition each F1 was computed.

For one set of predictions the weighted F1 with correct class weights and the one with
swapped weights add up to twice the accuracy:

    sum_c (n_c + p_c) / n * 2 TP_c / (n_c + p_c) = 2 * sum_c TP_c / n,

where class c is true n_c times, predicted p_c times, and found TP_c times. So one
definition follows from the other, and a printed pair of accuracy and F1 can be tested
against both: not every F1 is possible at a given accuracy. All of this is linear, or
becomes convex, under averaging: it holds for means over runs and areas over rates.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from msa.audit.findings import findings
from msa.audit.labels import Labels
from msa.data.published import SCORES

WEIGHTINGS = ("correct", "swapped")
_ROW = ["paper", "table", "dataset", "model", "rate", "variant"]


@lru_cache(maxsize=64)
def extreme_f1(positives: int, negatives: int) -> NDArray[np.float64]:
    """Find the smallest and largest correct F1 of a single run at every accuracy.

    Parameters
    ----------
    positives, negatives : int
        True members of the two classes.

    Returns
    -------
    array of float, shape (2 * (positives + negatives + 1), 2)
        Pairs of accuracy and F1: the minima at every number of correct answers, then
        the maxima.
    """
    total = positives + negatives
    low, high = np.full(total + 1, np.inf), np.full(total + 1, -np.inf)
    found_n = np.arange(negatives + 1)
    for found_p in range(positives + 1):
        said_p = found_p + negatives - found_n  # (negatives + 1,)
        f1_p = 2 * found_p / (said_p + positives)
        f1_n = 2 * found_n / (total - said_p + negatives)
        f1 = (positives * f1_p + negatives * f1_n) / total
        correct = slice(found_p, found_p + negatives + 1)
        np.minimum(low[correct], f1, out=low[correct])
        np.maximum(high[correct], f1, out=high[correct])
    accuracy = np.arange(total + 1) / total
    return np.concatenate(
        [np.stack([accuracy, low], axis=1), np.stack([accuracy, high], axis=1)]
    )


@lru_cache(maxsize=64)
def f1_region(classes: tuple[tuple[int, int], ...]) -> tuple[NDArray, NDArray]:
    """Bound the correct F1 of any mean over runs by the mean accuracy.

    Parameters
    ----------
    classes : tuple of (positives, negatives)
        Class counts that a run may have; several if samples are left out at random.

    Returns
    -------
    lower, upper : array of float, shape (V, 2)
        Corners (accuracy, F1) of the lower and of the upper edge of the convex hull of
        all single runs, by increasing accuracy. The swapped F1 is twice the accuracy
        minus the correct one.
    """
    corners = _corners(np.concatenate([_corners(extreme_f1(*c)) for c in classes]))
    # (0, 0) and (1, 1) are corners of every region: all answers wrong, all right. The
    # chord between them is the diagonal, so the two edges lie on its two sides.
    above = corners[:, 1] - corners[:, 0]
    lower, upper = corners[above <= 1e-12], corners[above >= -1e-12]
    return lower[np.argsort(lower[:, 0])], upper[np.argsort(upper[:, 0])]


def _corners(points: NDArray) -> NDArray:
    return points[ConvexHull(points).vertices]


def f1_range(
    region: tuple[NDArray, NDArray], low: float, high: float, weighting: str
) -> tuple[float, float]:
    """Return the F1 values that are possible if the accuracy lies in an interval.

    Parameters
    ----------
    region : tuple of array
        From :func:`f1_region`.
    low, high : float
        Ends of the accuracy interval, as shares.
    weighting : {"correct", "swapped"}
        Definition of F1.
    """
    lower, upper = region
    ends = []
    for edge, best in ((lower, min), (upper, max)):
        inside = edge[(edge[:, 0] > low) & (edge[:, 0] < high), 0]
        accuracy = np.array([low, *inside, high])
        f1 = np.interp(accuracy, edge[:, 0], edge[:, 1])
        if weighting == "swapped":
            # The swapped region is the correct one mirrored at the diagonal.
            f1, best = 2 * accuracy - f1, {min: max, max: min}[best]
        ends.append(float(best(f1)))
    return min(ends), max(ends)


def class_counts(
    labels: Labels, dataset: str, variant: str, dropped: int = 0
) -> tuple[tuple[int, int], ...]:
    """List the class counts that the test split of one run can have.

    Parameters
    ----------
    labels : dict
        Labels of every data set.
    dataset, variant : str
        Which binary task: ``"has0"`` (>= 0 against < 0), ``"non0"`` (neutral left out)
        or ``""`` (> 0 against <= 0, CH-SIMS).
    dropped : int
        Clips that a run leaves out at random.

    Returns
    -------
    tuple of (positives, negatives)
        One pair, or every pair that is possible if clips are left out at random.
    """
    truth = labels[dataset]["test"]
    if variant == "non0":
        truth = truth[truth != 0]
    positive = truth >= 0 if variant == "has0" else truth > 0
    plus, minus = int(positive.sum()), int((~positive).sum())
    if variant == "non0":  # up to all of the left-out clips may be neutral
        left_out = [(a, b) for a in range(dropped + 1) for b in range(dropped + 1 - a)]
    else:
        left_out = [(a, dropped - a) for a in range(dropped + 1)]
    return tuple((plus - a, minus - b) for a, b in left_out)


def f1_pairs(cells: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Set every F1 beside the accuracy of the same two classes.

    Returns
    -------
    DataFrame
        One row per printed pair: ``paper, table, dataset, model, rate, variant,
        accuracy, f1, gap`` (F1 minus accuracy, in points), ``mirrored`` (the F1 by the
        other definition, 2 * accuracy - F1), the possible ranges ``correct_low,
        correct_high, swapped_low, swapped_high`` and ``fits``: ``"correct"``,
        ``"swapped"``, ``"both"`` or ``"neither"``. All in percent.
    """
    defined = cells[cells["value"].notna() & cells["dataset"].isin(labels)]
    pairs = defined[defined["metric"] == "F1"].merge(
        defined[defined["metric"] == "Acc-2"], on=_ROW, suffixes=("", "_acc")
    )
    rows = []
    for pair in pairs.itertuples():
        counts = class_counts(labels, pair.dataset, pair.variant, pair.dropped)
        error = pair.half_acc + pair.slack_acc
        row = {name: getattr(pair, name) for name in (*_ROW, "printed", "weighting")}
        row |= {
            "accuracy": pair.value_acc,
            "f1": pair.value,
            "gap": pair.value - pair.value_acc,
            "mirrored": 2 * pair.value_acc - pair.value,
        }
        fits = []
        for weighting in WEIGHTINGS:
            low, high = f1_range(
                f1_region(counts),
                max(pair.value_acc - error, 0) / 100,
                min(pair.value_acc + error, 100) / 100,
                weighting,
            )
            row[f"{weighting}_low"], row[f"{weighting}_high"] = 100 * low, 100 * high
            margin = pair.half + pair.slack
            if 100 * low - margin <= pair.value <= 100 * high + margin:
                fits.append(weighting)
        row["fits"] = {0: "neither", 1: "".join(fits), 2: "both"}[len(fits)]
        rows.append(row)
    columns = [*_ROW, "printed", "weighting", "accuracy", "f1", "gap", "mirrored"]
    ranges = [f"{w}_{end}" for w in WEIGHTINGS for end in ("low", "high")]
    return pd.DataFrame(rows, columns=[*columns, *ranges, "fits"])


def systems(pairs: pd.DataFrame) -> pd.DataFrame:
    """Count by system which definition of F1 its printed pairs fit.

    Parameters
    ----------
    pairs : DataFrame
        From :func:`f1_pairs`.

    Returns
    -------
    DataFrame
        Columns ``paper, table, dataset, model, correct, swapped, both, neither,
        mean_gap, reading``: pairs that fit only the correct weighting, only the swapped
        one, both, or neither, and the definition that the decided pairs speak for
        (``"open"`` if there are none or as many of each).
    """
    keys = ["paper", "table", "dataset", "model"]
    if pairs.empty:
        return pd.DataFrame(columns=[*keys, "reading"])
    groups = pairs.groupby(keys, sort=False)
    counts = groups["fits"].value_counts().unstack(fill_value=0)
    counts = counts.reindex(columns=["correct", "swapped", "both", "neither"])
    counts = counts.fillna(0).astype(int).reindex(groups.size().index)
    counts["mean_gap"] = groups["gap"].mean()
    sign = np.sign(counts["correct"] - counts["swapped"])
    counts["reading"] = sign.map({1: "correct", -1: "swapped", 0: "open"})
    return counts.reset_index()


def rankings(cells: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Rank the systems of every table with F1, without it, and with one definition.

    Parameters
    ----------
    cells : DataFrame
        A table from :func:`msa.audit.tidy.prepare`.
    labels : dict
        Labels of every data set.

    Returns
    -------
    DataFrame
        Columns ``paper, table, dataset, model, as_printed, without_f1, one_f1``: mean
        rank over metrics and rates (1 is best, ties share). For ``one_f1`` every system
        that prints swapped weights is brought to correct ones by the mirror relation.
    """
    pairs = f1_pairs(cells, labels)
    keys = ["paper", "table", "dataset", "model"]
    swapped = systems(pairs).query("reading == 'swapped'")[keys]
    fixed = pairs.merge(swapped, on=keys)[[*_ROW, "mirrored"]].assign(metric="F1")
    scores = cells[cells["metric"].isin(SCORES) & (cells["model"] != "")]
    scores = scores.merge(fixed, on=[*_ROW, "metric"], how="left")
    scores["one_f1"] = scores["mirrored"].fillna(scores["value"])
    column = ["paper", "table", "dataset", "metric", "variant", "rate"]
    for name in ("value", "one_f1"):
        better = scores[name].where(scores["metric"] != "MAE", -scores[name])
        groups = better.groupby([scores[c] for c in column], dropna=False)
        scores[f"rank_{name}"] = groups.rank(ascending=False)
    means = scores.groupby(keys, sort=False)
    no_f1 = scores[scores["metric"] != "F1"].groupby(keys, sort=False)
    return pd.DataFrame(
        {
            "as_printed": means["rank_value"].mean(),
            "without_f1": no_f1["rank_value"].mean(),
            "one_f1": means["rank_one_f1"].mean(),
        }
    ).reset_index()


def f1(cells: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Find F1 values that no definition allows, and tables that mix definitions.

    Parameters
    ----------
    cells : DataFrame
        A table from :func:`msa.audit.tidy.prepare`. Where ``weighting`` is known, only
        that definition counts, and the two definitions of a row must mirror each other.
    labels : dict
        Labels of every data set.

    Returns
    -------
    DataFrame
        One finding per F1 with an accuracy beside it (the expected range spans both
        definitions): inconsistent if neither fits, or if only the one fits that most
        other pairs of the system rule out. And one per table and data set in which some
        systems fit only one definition and others only the other.
    """
    pairs = f1_pairs(cells, labels)
    if pairs.empty:
        return findings("f1", [])
    counts = systems(pairs[pairs["weighting"] == ""])
    keys = ["paper", "table", "dataset"]
    reading = counts.set_index([*keys, "model"])["reading"].to_dict()
    rows = [
        _pair_finding(
            pair,
            reading.get((pair.paper, pair.table, pair.dataset, pair.model), "open"),
        )
        for pair in pairs.itertuples()
    ]
    for (paper, table, dataset), group in counts.groupby(keys, sort=False):
        by_reading = {
            reading: ", ".join(group.loc[group["reading"] == reading, "model"])
            for reading in WEIGHTINGS
        }
        if all(by_reading.values()):
            rows.append(
                {
                    "paper": paper,
                    "table": table,
                    "dataset": dataset,
                    "metric": "F1",
                    "verdict": "inconsistent",
                    "explanation": "two definitions of F1 in one table: correct "
                    f"weights for {by_reading['correct']}; swapped weights for "
                    f"{by_reading['swapped']}",
                }
            )
    return findings("f1", rows)


def _pair_finding(pair: object, reading: str) -> dict:
    ranges = {
        weighting: (
            getattr(pair, f"{weighting}_low"),
            getattr(pair, f"{weighting}_high"),
        )
        for weighting in WEIGHTINGS
    }
    row = {name: getattr(pair, name) for name in (*_ROW, "printed")} | {"metric": "F1"}
    if pair.weighting:
        low, high = ranges[pair.weighting]
        fits = pair.fits in (pair.weighting, "both")
        return row | {
            "expected_low": low,
            "expected_high": high,
            "verdict": "ok" if fits else "inconsistent",
            "explanation": f"{pair.weighting} weights, at accuracy {pair.accuracy:g}",
        }
    said = {
        "correct": "only correct class weights allow it",
        "swapped": "only swapped class weights allow it",
        "both": "correct and swapped class weights allow it",
        "neither": "neither class weighting allows it",
    }[pair.fits]
    other = {"correct": "swapped", "swapped": "correct"}.get(pair.fits)
    if other and reading == other:
        said += f", most other pairs of this system only {other} ones"
    return row | {
        "expected_low": min(low for low, _ in ranges.values()),
        "expected_high": max(high for _, high in ranges.values()),
        "verdict": "inconsistent"
        if pair.fits == "neither" or (other and reading == other)
        else "ok",
        "explanation": f"at accuracy {pair.accuracy:g}: {said} (correct "
        f"{ranges['correct'][0]:.2f} to {ranges['correct'][1]:.2f}, swapped "
        f"{ranges['swapped'][0]:.2f} to {ranges['swapped'][1]:.2f}); the other "
        f"definition would give {pair.mirrored:.2f}",
    }
