"""Two systems head to head: paired over seeds and clips, from stored predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from msa.data.load import MissingData
from msa.data.registry import source
from msa.models.registry import MODELS
from msa.study.claims import Place, rates_of, rules
from msa.study.evidence import Evidence
from msa.study.publish import publish_table
from msa.study.results import load_runs, load_table
from msa.study.stats import (
    TIE,
    Floats,
    interval,
    mean_over_runs,
    probability_of_improvement,
    run_weights,
    ties_as_zero,
)
from msa.train.metrics import RATES, metric_keys

PAIRS = (
    ("MFMB-Net", "MIT-FRNet"),
    ("MFMB-Net", "TFR-Net"),
    ("MIT-FRNet", "TFR-Net"),
    ("MFMB-Net", "text-linear"),
    ("MIT-FRNet", "text-linear"),
    ("TFR-Net", "text-linear"),
)
"""Who meets whom: the papers, their common ancestor, and a linear reader of text."""

NUMBERS = (*RATES, "AUILC", "drop 0.0 0.5")
"""Missing rates, and what is made of several."""

PAIR_COLUMNS = (
    *("dataset", "view", "encoder_mode", "first", "second", "at", "metric", "n"),
    *("gain", "lo", "hi", "p", "p_seeds", "better", "better_lo", "better_hi"),
)


def publish_pairs(results: Path | None = None) -> tuple[str, ...]:
    """Compare every pair wherever both were run, and store ``pairs.csv``.

    Rows of data sets that are not on this machine stay as they are.

    Returns
    -------
    tuple of str
        Files that changed.
    """
    return publish_compared("pairs", PAIR_COLUMNS, compare_pairs, results)


def publish_compared(
    name: str,
    columns: Sequence[str],
    compare: Callable[[str, Evidence], list[dict]],
    results: Path | None = None,
) -> tuple[str, ...]:
    """Store what a comparison finds on every data set and view that has runs.

    Parameters
    ----------
    name : str
        Of the table.
    columns : sequence of str
    compare : callable
        Makes the rows of a data set from the runs of a view.
    results : Path, optional

    Returns
    -------
    tuple of str
        Files that changed.
    """
    stored = load_table(name, results).reindex(columns=list(columns))
    runs = load_runs(results=results)
    rows: list[dict] = []
    for dataset, view in sorted(set(zip(runs["dataset"], runs["view"], strict=True))):
        try:
            rows += compare(dataset, Evidence(view, results))
        except MissingData:
            kept = stored[(stored["dataset"] == dataset) & (stored["view"] == view)]
            rows += kept.to_dict("records")
    return publish_table(name, pd.DataFrame(rows, columns=list(columns)), results)


def load_pairs(results: Path | None = None) -> pd.DataFrame:
    """Load the stored comparisons.

    Returns
    -------
    DataFrame
        ``dataset, view, encoder_mode, first, second, at, metric, n, gain, lo, hi, p,
        p_seeds, better, better_lo, better_hi``. ``encoder_mode`` is that of both
        systems, ``frozen`` or ``finetune``; ``gain`` is the first system's mean
        advantage, positive if it is better (for MAE too), with its 95 % interval;
        ``p`` the two-sided bootstrap p-value over seeds and clips; ``p_seeds`` that of
        a paired t-test of the seeds' gains, nan below three seeds; ``better`` the share
        of pairs of runs in which the first beats the second on the real test split; its
        interval draws runs and clips anew.
    """
    return load_table("pairs", results).reindex(columns=list(PAIR_COLUMNS))


def compare_pairs(dataset: str, evidence: Evidence) -> list[dict]:
    """Compare every pair on a data set at every number that both have.

    Both with a frozen text encoder, then both with theirs trained along.

    Parameters
    ----------
    dataset : str
    evidence : Evidence
        Published runs of one feature view.

    Returns
    -------
    list of dict
        Rows of ``pairs.csv``; none where two systems share no seed.

    Raises
    ------
    MissingData
        If the labels are not on this machine.
    """
    metrics = metric_keys(source(dataset, evidence.view).scale)
    rows = []
    for mode, pair, at in product(("frozen", "finetune"), PAIRS, NUMBERS):
        if mode == "finetune" and not all(MODELS[one].can_fine_tune for one in pair):
            continue
        seeds = evidence.seeds(dataset, pair, rates_of(at), encoder_mode=mode)
        for metric in metrics if seeds else ():
            place = Place(dataset, metric, at)
            ours, theirs = (
                evidence.number(place, system, seeds, encoder_mode=mode)
                for system in pair
            )
            names = {"dataset": dataset, "view": evidence.view, "metric": metric}
            names |= {"encoder_mode": mode, "at": place.number, "n": len(seeds)}
            names |= dict(zip(("first", "second"), pair, strict=True))
            rows.append(names | paired_gain(ours, theirs) | _better(ours, theirs))
    return rows


def paired_gain(
    ours: tuple[Floats, Floats], theirs: tuple[Floats, Floats]
) -> dict[str, float]:
    """Return the mean paired gain with its interval and p-values.

    Parameters
    ----------
    ours, theirs : tuple of array
        From :meth:`msa.study.evidence.Evidence.number`, on the same seeds.

    Returns
    -------
    dict of str to float
        ``gain``, ``lo``, ``hi``, ``p`` and ``p_seeds``; nan where one is not defined.
        A gain or a bound that is a tie is 0.
    """
    gain = float((ours[0] - theirs[0]).mean())
    if np.isnan(gain):
        return dict.fromkeys(("gain", "lo", "hi", "p", "p_seeds"), np.nan)
    gains = ours[1] - theirs[1]  # (B, R)
    weights = run_weights(gains.shape[1], rules().resamples)
    draws = mean_over_runs(gains, weights)
    bounds = interval(draws, rules().level)
    gain, lo, hi = ties_as_zero([gain, *bounds]).tolist()
    p_values = {"p": p_value(draws), "p_seeds": p_over_seeds(ours[0] - theirs[0])}
    return {"gain": gain, "lo": lo, "hi": hi, **p_values}


def p_value(draws: Floats) -> float:
    """Two-sided bootstrap p-value of a difference, from its resamples of shape (B,).

    Twice the smaller tail beyond 0, where a resample that is 0 up to rounding is in
    both; the real sample counts as one more, so that no p-value is 0.
    """
    defined = draws[~np.isnan(draws)]
    tail = min((defined <= TIE).sum(), (defined >= -TIE).sum())
    return float(min(1.0, 2 * (tail + 1) / (len(defined) + 1)))


def p_over_seeds(gains: Floats) -> float:
    """Two-sided p-value of a t-test of the seeds' gains, (R,); nan below three seeds.

    What it knows of seeds only: every run is scored on the one test split.
    """
    from scipy.stats import ttest_1samp  # here: it loads slowly, and pages only read

    if len(gains) < rules().seeds or np.ptp(gains) <= TIE:
        return np.nan
    return float(ttest_1samp(gains, 0.0).pvalue)


def _better(
    ours: tuple[Floats, Floats], theirs: tuple[Floats, Floats]
) -> dict[str, float]:
    """Probability that a run of the first is better; runs are drawn for each alone."""
    found = probability_of_improvement(ours, theirs, level=rules().level)
    return {"better": found.mean, "better_lo": found.lo, "better_hi": found.hi}
