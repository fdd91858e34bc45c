"""Every number that the tables of the two papers print, one row a cell.

The facts live in ``published.csv`` beside this file, in the order of the papers:
MFMB-Net (AAAI 2025) Tables 1 to 5, MIT-FRNet (Expert Systems with Applications 2024)
Tables 2 and 4 to 7. Model names follow this project: MulT for MuT and MuIT, Corr for C.
"""

from __future__ import annotations

import re
from importlib import resources

import pandas as pd

PRINTED_NAMES = {"mosi": "MOSI", "mosei": "MOSEI", "sims": "SIMS"}
"""Data sets as the papers' tables name them."""

_ABLATION = re.compile(r"(.+) \(ablation (.+)\)")

ACCURACIES = ("Acc-2", "Acc-3", "Acc-5", "Acc-7")

PERCENT = (*ACCURACIES, "F1")
"""Metrics that both papers print times 100."""

SCORES = (*PERCENT, "MAE", "Corr")
"""Metrics of systems; the papers print counts and running times as well."""

KEYS = {
    ("Acc-2", "has0"): "Has0_acc_2",
    ("Acc-2", "non0"): "Non0_acc_2",
    ("Acc-2", ""): "Mult_acc_2",
    ("Acc-3", ""): "Mult_acc_3",
    ("Acc-5", ""): "Mult_acc_5",
    ("Acc-7", ""): "Mult_acc_7",
    ("F1", "has0"): "Has0_F1",
    ("F1", "non0"): "Non0_F1",
    ("F1", ""): "F1_score",
    ("MAE", ""): "MAE",
    ("Corr", ""): "Corr",
}
"""Printed metric and variant to the key of ``msa.train.metrics``."""

_BOLD = {"yes": True, "no": False}


def system_of(paper: str, row: str) -> str:
    """Name the system of a printed row as this study does.

    Parameters
    ----------
    paper : {"MFMB-Net", "MIT-FRNet"}
        Whose table it is.
    row : str
        Name in the table: ``"Ours"``, ``"w/o F-1"``, ``"MIT-FRNet (ablation MMR)"``.

    Returns
    -------
    str
        Such as ``"MIT-FRNet w/o MMR"``.
    """
    if row.startswith("w/o"):
        return f"{paper} {row}"
    if ablation := _ABLATION.fullmatch(row):
        return f"{ablation[1]} w/o {ablation[2]}"
    return paper if row == "Ours" else row


def published() -> pd.DataFrame:
    """Return all printed table cells of both papers.

    Returns
    -------
    DataFrame
        One row per cell, with the columns

        ``paper, table, dataset, setting``
            Where the cell stands. ``dataset`` is MOSI, MOSEI or SIMS.
        ``model``
            Row of the table, ``"Ours"`` for the paper's own model; empty for data
            statistics.
        ``metric, variant, split, rate``
            ``variant`` is ``"has0"`` or ``"non0"`` where the metric comes in two forms,
            else empty; ``split`` belongs to data statistics; ``rate`` is the missing
            rate, nan where there is none.
        ``printed, value``
            The characters in the paper, and the number; nan where a dash is printed.
        ``factor, score``
            ``score = value / factor`` is the number in this project's units (shares
            between 0 and 1, MAE and Corr raw). MIT-FRNet prints MAE and Corr times 100.
        ``key``
            Metric key of ``msa.train.metrics``, empty for counts and running times.
            The papers do not say how F1 weighs its classes: the key names the correct
            weighting, and the audit discusses which one was printed.
        ``bold, arrow``
            ``bold`` is None where the source does not show it; ``arrow`` is ``"up"`` or
            ``"down"`` in the ablation table of MIT-FRNet, else empty.
    """
    path = resources.files("msa.data") / "published.csv"
    with path.open(encoding="utf-8") as file:
        cells = pd.read_csv(file, dtype=str, keep_default_na=False)
    cells["rate"] = pd.to_numeric(cells["rate"])
    cells["value"] = pd.to_numeric(cells["printed"], errors="coerce")
    cells["bold"] = [_BOLD.get(mark) for mark in cells["bold"]]
    times_100 = (cells["paper"] == "MIT-FRNet") & cells["metric"].isin(["MAE", "Corr"])
    percent = cells["metric"].isin(PERCENT) | times_100
    cells["factor"] = percent.map({True: 100.0, False: 1.0})
    cells["score"] = cells["value"] / cells["factor"]
    names = zip(cells["metric"], cells["variant"], strict=True)
    cells["key"] = [KEYS.get(name, "") for name in names]
    return cells
