"""Runs that training left where one answer for all clips stands."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown

from msa.data.registry import source
from msa.data.text import default_encoder
from msa.report.labels import main_runs
from msa.study.results import load_runs

FITS_NOTHING = 0.99
"""Share of the constant's error on the training split above which a run counts as
fitting nothing. Set when the runs that it names had been seen."""


def main_of(
    frame: pd.DataFrame, dataset: str, view: str, encoder_mode: str = "frozen"
) -> pd.DataFrame:
    """Return the main comparison on a data set with its usual text encoder.

    Parameters
    ----------
    frame : DataFrame
        Published runs, summaries or aggregates.
    dataset, view : str
    encoder_mode : {"frozen", "finetune"}
    """
    own = main_runs(frame)
    keep = (own["dataset"] == dataset) & (own["view"] == view)
    keep &= own["encoder"] == default_encoder(source(dataset, view).language)
    return own[keep & (own["encoder_mode"] == encoder_mode)]


def fits_nothing_above(dataset: str, view: str) -> float:
    """Return the training MAE, in label units, above which a run fits nothing.

    NaN where the constant, whose error is the measure, was not run.
    """
    runs = main_of(load_runs(), dataset, view)
    return FITS_NOTHING * runs.loc[runs["model"] == "constant", "train_MAE"].mean()


def untrained(
    systems: Sequence[str], dataset: str, view: str, remark: str = ""
) -> Markdown | None:
    """Name the runs that fit their own training split no better than one answer does.

    Missing rate 1.0 is left out, because nothing is left to learn from there.

    Parameters
    ----------
    systems : sequence of str
    dataset, view : str
    remark : str
        A sentence to end with.

    Returns
    -------
    Markdown or None
        None where every run fits better than that, or where the constant, whose error
        on the training split is the measure, was not run.
    """
    runs = load_runs()
    runs = main_of(runs[runs["missing_rate"] < 1], dataset, view)
    bar = fits_nothing_above(dataset, view)
    told = []
    for system in systems:
        own = runs[runs["model"] == system]
        stuck = own[own["train_MAE"] > bar]
        if len(stuck):
            rates = ", ".join(f"{r:.1f}" for r in sorted(set(stuck["missing_rate"])))
            told.append(f"{len(stuck)} of {len(own)} runs of {system} (at {rates})")
    if not told:
        return None
    listed = " and ".join([", ".join(told[:-1]), told[-1]] if told[1:] else told)
    return Markdown(
        "**No better than one answer for all clips on their own training split** "
        f"(MAE within 1 %; {source(dataset, view).title}, below missing rate 1.0): "
        f"{listed}. {remark}".rstrip()
    )
