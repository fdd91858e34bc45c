"""Check 8: whether the papers' data tables fit the real labels and each other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from msa.audit.constants import majority_shares
from msa.audit.findings import findings, place
from msa.audit.labels import Labels

_CLASSES = ("negative", "neutral", "positive")


def class_table(labels: Labels) -> pd.DataFrame:
    """Count negative, neutral and positive clips of every split.

    Returns
    -------
    DataFrame
        Columns ``dataset, split, negative, neutral, positive, clips``.
    """
    rows = []
    for dataset, splits in labels.items():
        for split in ("train", "valid", "test"):
            signs = np.sign(splits[split])
            counts = {
                name: int((signs == s - 1).sum()) for s, name in enumerate(_CLASSES)
            }
            rows.append(
                {"dataset": dataset, "split": split, **counts, "clips": len(signs)}
            )
    return pd.DataFrame(rows)


def data_statistics(cells: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Compare printed class counts with the labels, with their sum and across papers.

    Parameters
    ----------
    cells : DataFrame
        A table from :func:`msa.audit.tidy.prepare`.
    labels : dict
        Labels of every data set.

    Returns
    -------
    DataFrame
        One finding per printed count, one per pair of papers that print the same count,
        and one per accuracy with the score of its majority class.
    """
    counts = cells[cells["metric"].str.startswith("count_")]
    rows = [_against_labels(cell, counts, labels) for cell in counts.itertuples()]
    rows += _across_papers(counts)
    if len(counts):
        rows += [
            {
                "dataset": best.dataset,
                "metric": best.metric,
                "variant": best.variant,
                "expected_low": 100 * best.score,
                "expected_high": 100 * best.score,
                "verdict": "note",
                "explanation": f"majority class of the test split ('{best.predictor}')",
            }
            for best in majority_shares(labels).itertuples()
        ]
    return findings("data-statistics", rows)


def _against_labels(cell: object, counts: pd.DataFrame, labels: Labels) -> dict:
    row = place(cell)
    name = cell.metric.removeprefix("count_")
    row["variant"] = cell.split
    if cell.split == "all":
        parts = counts[
            (counts["paper"] == cell.paper)
            & (counts["dataset"] == cell.dataset)
            & counts["split"].isin(["train", "valid", "test"])
        ]
        expected, source = parts["value"].sum(), "sum of the printed classes and splits"
    elif cell.dataset in labels:
        signs = np.sign(labels[cell.dataset][cell.split])
        expected = int((signs == _CLASSES.index(name) - 1).sum())
        source = "counted in the labels"
    else:
        return row | {
            "verdict": "no-power",
            "explanation": "no class counts are known for this data set",
        }
    return row | {
        "expected_low": expected,
        "expected_high": expected,
        "verdict": "ok" if cell.value == expected else "inconsistent",
        "explanation": source,
    }


def _across_papers(counts: pd.DataFrame) -> list[dict]:
    rows = []
    for _, group in counts.groupby(["dataset", "split", "metric"], sort=False):
        papers = group.drop_duplicates("paper")
        for first, second in pairwise(papers.itertuples()):
            same = first.value == second.value
            rows.append(
                place(second)
                | {
                    "variant": second.split,
                    "expected_low": first.value,
                    "expected_high": first.value,
                    "verdict": "ok" if same else "inconsistent",
                    "explanation": f"{first.paper} {first.table} prints "
                    f"{first.printed}",
                }
            )
    return rows
