"""Check 6: whether the tables agree with each other and with their own marks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from msa.audit.findings import findings, place
from msa.audit.labels import Labels
from msa.audit.tidy import higher_is_better

SAME_SYSTEM = (("MFMB-Net", ("Table 4", "Ours"), ("Table 5", "MFMB-Net")),)
"""Rows that show the same system: paper, then table and model of both."""

ABLATIONS = (("MIT-FRNet", "Table 7", ("Table 4", "Ours")),)
"""Tables whose arrows compare with a full model: paper, table, full model."""

COARSER = (("Acc-5", "Acc-7"), ("Acc-3", "Acc-5"))
"""Accuracies of which the first merges classes of the second, so it cannot be lower.

Acc-5 clips to [-2, 2] what Acc-7 clips to [-3, 3] (MOSI, MOSEI); Acc-3 leaves out two
of the four cuts of Acc-5 (CH-SIMS).
"""

_CELL = ["dataset", "metric", "variant", "rate"]


def consistency(cells: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Compare cells that belong together, within and across tables.

    Parameters
    ----------
    cells : DataFrame
        A table from :func:`msa.audit.tidy.prepare`.
    labels : dict
        Not used.

    Returns
    -------
    DataFrame
        One finding per pair of cells of the same system in two tables, per arrow of an
        ablation table, per bold mark and per best value, and per pair of a coarser and
        a finer accuracy.
    """
    rows = [
        *_same_systems(cells),
        *_arrows(cells),
        *_bold_marks(cells),
        *_coarser_and_finer(cells),
    ]
    return findings("consistency", rows)


def _rows_of(cells: pd.DataFrame, paper: str, table: str, model: str) -> pd.DataFrame:
    same = (cells["paper"] == paper) & (cells["table"] == table)
    return cells[same & (cells["model"] == model)]


def _same_systems(cells: pd.DataFrame) -> list[dict]:
    rows = []
    for paper, first, second in SAME_SYSTEM:
        pairs = _rows_of(cells, paper, *second).merge(
            _rows_of(cells, paper, *first), on=_CELL, suffixes=("", "_other")
        )
        for pair in pairs.itertuples():
            margin = pair.half + pair.half_other
            same = abs(pair.value - pair.value_other) <= margin
            equal = (
                same if pair.half != pair.half_other else pair.value == pair.value_other
            )
            rows.append(
                place(pair)
                | {
                    "expected_low": pair.value_other,
                    "expected_high": pair.value_other,
                    "verdict": "ok" if equal else "inconsistent",
                    "explanation": f"{first[0]} prints {pair.printed_other} for the "
                    "same system",
                }
            )
    return rows


def arrow_signs(cells: pd.DataFrame) -> pd.DataFrame:
    """Set every arrow of an ablation table beside the difference it describes.

    Returns
    -------
    DataFrame
        One row per arrow: ``paper, table, dataset, model, metric, variant, rate,
        printed, arrow, full`` (the full model's printed value), ``difference``
        (ablation minus full), ``value_fits`` (the arrow is the direction of the
        number), ``quality_fits`` (the arrow up means better). Both are False where the
        difference is 0 or undefined.
    """
    parts = []
    for paper, table, full in ABLATIONS:
        marked = cells[(cells["paper"] == paper) & (cells["table"] == table)]
        marked = marked[marked["arrow"] != ""]
        pairs = marked.merge(
            _rows_of(cells, paper, *full), on=_CELL, suffixes=("", "_full")
        )
        parts.append(pairs)
    pairs = pd.concat(parts)
    difference = (pairs["value"] - pairs["value_full"]).round(6)
    up = pairs["arrow"].map({"up": 1, "down": -1}).astype(float)
    better = pairs["metric"].map(lambda m: 1 if higher_is_better(m) else -1)
    where = ["paper", "table", "model", *_CELL, "printed", "arrow"]
    return pairs[where].assign(
        full=pairs["printed_full"],
        difference=difference,
        value_fits=np.sign(difference) == up,
        quality_fits=np.sign(difference) * better.astype(float) == up,
    )


def _arrows(cells: pd.DataFrame) -> list[dict]:
    rows = []
    for pair in arrow_signs(cells).itertuples():
        if np.isnan(pair.difference):
            verdict, words = "note", "the full model prints a dash"
        elif pair.difference == 0:
            verdict, words = "note", "both values are equal, neither arrow fits"
        else:
            verdict = "ok" if pair.value_fits or pair.quality_fits else "inconsistent"
            words = f"the difference to the full model is {pair.difference:+.2f}"
            if verdict == "ok" and pair.value_fits != pair.quality_fits:
                reading = "number went" if pair.value_fits else "result got"
                words += f"; fits only if the arrow says how the {reading}"
        rows.append(
            place(pair)
            | {"verdict": verdict, "explanation": f"arrow {pair.arrow}: {words}"}
        )
    return rows


def _bold_marks(cells: pd.DataFrame) -> list[dict]:
    """Compare bold marks with the best value of a column, where any mark is known."""
    shown = cells[cells["bold"].notna() & cells["value"].notna()]
    rows = []
    for _, table in shown.groupby(["paper", "table"], sort=False):
        if not table["bold"].any():
            continue
        for _, column in table.groupby(_CELL, sort=False, dropna=False):
            sign = 1 if higher_is_better(column["metric"].iloc[0]) else -1
            best = (column["value"] * sign).max() * sign
            leaders = ", ".join(column.loc[column["value"] == best, "model"])
            for cell in column.itertuples():
                is_best = cell.value == best
                if not (cell.bold or is_best):
                    continue
                tie = is_best and (column["value"] == best).sum() > 1
                if cell.bold and is_best:
                    verdict, words = "ok", "bold and the best value"
                elif cell.bold:
                    verdict = "inconsistent"
                    words = f"bold, but {leaders} has {best:g}"
                elif tie:
                    verdict, words = "note", f"equals the bold value of {leaders}"
                else:
                    verdict, words = "inconsistent", "the best value, not bold"
                rows.append(
                    place(cell)
                    | {
                        "expected_low": best,
                        "expected_high": best,
                        "verdict": verdict,
                        "explanation": words,
                    }
                )
    return rows


def _coarser_and_finer(cells: pd.DataFrame) -> list[dict]:
    rows = []
    where = ["paper", "table", "dataset", "model", "rate"]
    for coarse, fine in COARSER:
        # Acc-3 and Acc-5 nest on CH-SIMS; MOSI and MOSEI have no Acc-3.
        pairs = cells[cells["metric"] == coarse].merge(
            cells[cells["metric"] == fine], on=where, suffixes=("", "_fine")
        )
        for pair in pairs.dropna(subset=["value", "value_fine"]).itertuples():
            margin = pair.half + pair.half_fine + pair.slack + pair.slack_fine
            broken = pair.value + margin < pair.value_fine
            equal = pair.value == pair.value_fine
            words = f"{fine} is {pair.printed_fine}"
            if equal:
                words += (
                    f"; equal means that no clip was right in {coarse} and wrong in "
                    f"{fine}, as when all predictions are close to 0"
                )
            rows.append(
                place(pair)
                | {
                    "expected_low": pair.value_fine,
                    "verdict": "inconsistent" if broken else "note" if equal else "ok",
                    "explanation": words,
                }
            )
    return rows
