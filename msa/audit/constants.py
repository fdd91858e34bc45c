"""Check 3: which cells equal the score of a predictor that ignores its input.

A model that has collapsed answers every clip with (nearly) the same number. Its scores
follow from the class counts alone, through the metric definitions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pandas as pd

from msa.audit.findings import findings, place
from msa.audit.labels import Labels, scale_of
from msa.audit.tidy import METRIC_NAMES
from msa.data.published import ACCURACIES, PERCENT
from msa.train.metrics import score

_SIGN_METRICS = ("Acc-2", "F1")

_CLASS_VALUES = {
    "mosi": {"Acc-7": range(-3, 4), "Acc-5": range(-2, 3)},
    "sims": {"Acc-3": (-1, 0, 1), "Acc-5": (-1, -0.4, 0, 0.4, 1)},
}
"""One score inside every class of every multi-class accuracy."""

_TINY = 0.01  # a score whose sign is all that matters


def constant_scores(labels: Labels) -> pd.DataFrame:
    """Score every predictor that always gives the same answer, on each test split.

    Returns
    -------
    DataFrame
        Columns ``dataset, predictor, answer, metric, variant, weighting, score``, where
        ``score`` is a share or in label units. Predictors: "all positive" and "all
        negative" (binary metrics), "always class c" (multi-class accuracies) and
        "train median" (all metrics). ``weighting`` tells the two F1 apart.
    """
    rows = []
    for dataset, splits in labels.items():
        scale, truth = scale_of(dataset), splits["test"]
        scored: dict[float, dict[str, float]] = {}
        for predictor, answer, metrics in _predictors(scale, splits["train"]):
            if answer not in scored:
                scored[answer] = score(np.full(len(truth), answer), truth, scale)
            for key, value in scored[answer].items():
                metric, variant, weighting = METRIC_NAMES[key]
                if metric in metrics:
                    rows.append(
                        {
                            "dataset": dataset,
                            "predictor": predictor,
                            "answer": answer,
                            "metric": metric,
                            "variant": variant,
                            "weighting": weighting,
                            "score": value,
                        }
                    )
    return pd.DataFrame(rows)


def _predictors(scale: str, train: np.ndarray) -> Iterator[tuple[str, float, tuple]]:
    """Yield name, answer and metrics of every constant predictor."""
    yield "all positive", _TINY, _SIGN_METRICS
    yield "all negative", -_TINY, _SIGN_METRICS
    for metric, values in _CLASS_VALUES[scale].items():
        for value in values:
            yield f"always class {value:g}", float(value), (metric,)
    yield "train median", float(np.median(train)), (*PERCENT, "MAE")


def majority_shares(labels: Labels) -> pd.DataFrame:
    """Return the best accuracy of any constant predictor.

    Returns
    -------
    DataFrame
        Columns ``dataset, metric, variant, predictor, score``, one row per accuracy.
    """
    table = constant_scores(labels)
    shares = table[table["metric"].isin(ACCURACIES)]
    groups = shares.groupby(["dataset", "metric", "variant"], sort=False)
    best = groups["score"].idxmax()
    columns = ["dataset", "metric", "variant", "predictor", "score"]
    return shares.loc[best, columns].reset_index(drop=True)


def constants(cells: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Find cells that equal a constant predictor's score or are worse than one.

    Parameters
    ----------
    cells : DataFrame
        A table from :func:`msa.audit.tidy.prepare`.
    labels : dict
        Labels of every data set.

    Returns
    -------
    DataFrame
        One finding per accuracy, F1 and MAE that is a mean over runs (areas over
        missing rates are only compared with the best constant), per undefined
        correlation, and per F1 that differs from a constant predictor's although the
        accuracies of its row equal it.
    """
    scores = constant_scores(labels)
    catalogue = _by_metric(scores)
    rows = [_judge(cell, catalogue, labels) for cell in _scored(cells)]
    rows += [
        place(cell)
        | {
            "verdict": "note",
            "explanation": "an undefined correlation means that at least one of the "
            "averaged runs gave every clip the same score",
        }
        for cell in cells[
            (cells["metric"] == "Corr") & cells["value"].isna()
        ].itertuples()
        if cell.aggregate == "mean" and cell.dataset in labels
    ]
    rows += _collapsed_rows(cells, scores)
    return findings("constants", rows)


def equals_constant(cells: pd.DataFrame, labels: Labels) -> pd.Series:
    """Tell for every cell whether it equals some constant predictor's score."""
    catalogue = _by_metric(constant_scores(labels))
    hits = {cell.Index: bool(_matches(cell, catalogue)) for cell in _scored(cells)}
    return pd.Series([hits.get(i, False) for i in cells.index], index=cells.index)


def _scored(cells: pd.DataFrame) -> Iterator:
    shown = cells["metric"].isin((*PERCENT, "MAE")) & cells["value"].notna()
    yield from cells[shown].itertuples()


def _by_metric(table: pd.DataFrame) -> dict[tuple, list]:
    """Rows of `constant_scores` under their data set, metric and variant."""
    groups = table.groupby(["dataset", "metric", "variant"])
    return {key: list(rows.itertuples()) for key, rows in groups}


def _candidates(cell: object, catalogue: dict[tuple, list]) -> list:
    """Scores of constant predictors in the metric of a cell."""
    rows = catalogue.get((cell.dataset, cell.metric, cell.variant), [])
    return [row for row in rows if cell.weighting in ("", row.weighting)]


def _matches(cell: object, catalogue: dict[tuple, list]) -> list[str]:
    """Name the constant predictors whose score prints as this cell."""
    if cell.aggregate != "mean" or cell.dropped:
        return []
    names = []
    for row in _candidates(cell, catalogue):
        share = row.score
        if row.metric != "MAE" and not np.isnan(cell.run_decimals):
            share = round(share, int(cell.run_decimals))
        if abs(share * cell.factor - cell.value) <= cell.half * (1 + 1e-6):
            names.append(f"{row.predictor} {row.weighting}".strip())
    return names


def _judge(cell: object, catalogue: dict[tuple, list], labels: Labels) -> dict:
    row = place(cell)
    if cell.dataset not in labels:
        return row | {
            "verdict": "no-power",
            "explanation": "no class counts are known for this data set",
        }
    names = _matches(cell, catalogue)
    if names:
        return row | {
            "expected_low": cell.value,
            "expected_high": cell.value,
            "verdict": "equals-constant",
            "explanation": f"the score of: {'; '.join(names)}",
        }
    rivals = _candidates(cell, catalogue)
    if cell.metric == "F1" or not rivals:
        return row | {"verdict": "ok", "explanation": "equals no constant predictor"}
    # Random left-out samples move a constant's share, at most by this much.
    clips = len(labels[cell.dataset]["test"])
    margin = cell.half + cell.slack + 100 * cell.dropped / (clips - cell.dropped)
    if cell.metric == "MAE":
        best = min(rivals, key=lambda rival: rival.score)
        behind = cell.value - cell.half > best.score * cell.factor and not cell.dropped
    else:
        best = max(rivals, key=lambda rival: rival.score)
        behind = cell.value + margin < best.score * cell.factor
    level = best.score * cell.factor
    return row | {
        "expected_low": np.nan if cell.metric == "MAE" else level,
        "expected_high": level if cell.metric == "MAE" else np.nan,
        "verdict": "below-constant" if behind else "ok",
        "explanation": f"the best constant predictor, '{best.predictor}', reaches "
        f"{level:.2f}",
    }


def _collapsed_rows(cells: pd.DataFrame, scores: pd.DataFrame) -> list[dict]:
    """Rows whose accuracies all equal one sign predictor, but whose F1 does not."""
    rows = []
    signs = {
        sign: _by_metric(scores[scores["predictor"] == sign])
        for sign in ("all positive", "all negative")
    }
    shown = cells[cells["metric"].isin(_SIGN_METRICS) & cells["value"].notna()]
    by_row = defaultdict(list)
    for cell in shown.itertuples():
        # As text: a rate that is not a number is not equal to itself.
        row = (cell.paper, cell.table, cell.dataset, cell.model, str(cell.rate))
        by_row[row].append(cell)
    for group in by_row.values():
        accuracies = [cell for cell in group if cell.metric == "Acc-2"]
        for sign, only in signs.items():
            if not accuracies or not all(_matches(cell, only) for cell in accuracies):
                continue
            for cell in group:
                if cell.metric != "F1" or _matches(cell, only):
                    continue
                wanted = sorted(100 * rival.score for rival in _candidates(cell, only))
                rows.append(
                    place(cell)
                    | {
                        "expected_low": wanted[0],
                        "expected_high": wanted[-1],
                        "verdict": "note",
                        "explanation": f"the accuracies of this row equal '{sign}', "
                        "whose F1 is "
                        + " or ".join(f"{value:.2f}" for value in wanted)
                        + "; another F1 needs as many found clips of one class as "
                        "missed ones of the other",
                    }
                )
    return rows
