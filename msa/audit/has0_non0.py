"""Check 2: whether the two binary accuracies of a row fit together.

Has0 accuracy counts all clips (score >= 0 against < 0), Non0 accuracy the non-neutral
ones (> 0 against <= 0). On a non-neutral clip both ask the same question, so the
difference of the two counts is the number of neutral clips predicted as non-negative,
and that lies between 0 and the number of neutral clips. The relation is linear: it
holds for means over runs and for areas over missing rates.
"""

from __future__ import annotations

import pandas as pd

from msa.audit.findings import findings
from msa.audit.labels import Labels

_ROW = ["paper", "table", "dataset", "model", "rate"]


def neutral_counts(cells: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Compute how many neutral clips each row predicts as non-negative.

    Returns
    -------
    DataFrame
        One row per pair of binary accuracies: ``paper, table, dataset, model, rate,
        has0, non0`` (printed values), ``neutral`` (neutral test clips), ``count``
        (those predicted as non-negative, mean over runs), ``margin`` (how far rounding
        can move it), ``low, high`` (Has0 accuracies that this Non0 accuracy allows, in
        percent, before rounding), ``slip`` (True if the printed one is outside),
        ``zero`` (True if both equal a predictor that always answers 0, which is
        allowed) and ``dropped`` (clips left out at random).
    """
    shown = cells[(cells["metric"] == "Acc-2") & cells["value"].notna()]
    shown = shown[shown["dataset"].isin(labels)]
    pairs = shown[shown["variant"] == "has0"].merge(
        shown[shown["variant"] == "non0"], on=_ROW, suffixes=("", "_non0")
    )
    rows = []
    for pair in pairs.itertuples():
        truth = labels[pair.dataset]["test"]
        clips, neutral = len(truth) - pair.dropped, int((truth == 0).sum())
        # Clips left out at random are hardest to contradict if none of them is neutral.
        share = neutral / clips
        outer, error = pair.half + pair.slack, pair.half_non0 + pair.slack_non0
        low = (1 - share) * (pair.value_non0 - error)
        high = (1 - share) * (pair.value_non0 + error) + 100 * share
        # Answering exactly 0 is non-negative in Has0 and not positive in Non0.
        zero = (truth >= 0).mean(), (truth[truth != 0] < 0).mean()
        is_zero = (
            abs(pair.value - 100 * zero[0]) <= outer
            and abs(pair.value_non0 - 100 * zero[1]) <= error
        )
        count = (clips * pair.value - (clips - neutral) * pair.value_non0) / 100
        rows.append(
            {name: getattr(pair, name) for name in _ROW}
            | {
                "has0": pair.printed,
                "non0": pair.printed_non0,
                "neutral": neutral,
                "count": count,
                "margin": (clips * outer + (clips - neutral) * error) / 100,
                "low": low,
                "high": high,
                "slip": not (low - outer <= pair.value <= high + outer or is_zero),
                "zero": is_zero,
                "dropped": pair.dropped,
            }
        )
    names = ["has0", "non0", "neutral", "count", "margin", "low", "high", "slip"]
    return pd.DataFrame(rows, columns=[*_ROW, *names, "zero", "dropped"])


def has0_non0(cells: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Find rows whose Has0 and Non0 accuracy cannot come from the same predictions.

    Parameters
    ----------
    cells : DataFrame
        A table from :func:`msa.audit.tidy.prepare`.
    labels : dict
        Labels of every data set.

    Returns
    -------
    DataFrame
        One finding per row with both accuracies; the expected range is that of the Has0
        accuracy. A score of exactly 0 counts as non-negative in Has0 and as not
        positive in Non0, so rows with such scores may break the range, too.
    """
    return findings(
        "has0-non0",
        [
            {name: getattr(row, name) for name in _ROW}
            | {
                "metric": "Acc-2",
                "variant": "has0/non0",
                "printed": f"{row.has0}/{row.non0}",
                "expected_low": row.low,
                "expected_high": row.high,
                "verdict": "inconsistent" if row.slip else "note" if row.zero else "ok",
                "explanation": f"{row.count:.1f} (± {row.margin:.1f} by rounding) of "
                f"{row.neutral} neutral clips are predicted as non-negative"
                + ("; each run leaves out random clips" if row.dropped else "")
                + ("; equals a predictor that always answers 0" if row.zero else ""),
            }
            for row in neutral_counts(cells, labels).itertuples()
        ],
    )
