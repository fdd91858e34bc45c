"""Frozen against fine-tuned text encoders: one system both ways, paired."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pandas as pd

from msa.data.registry import source
from msa.data.text import default_encoder
from msa.study.claims import Place, parse_system, rates_of
from msa.study.evidence import Evidence
from msa.study.pairs import paired_gain, publish_compared
from msa.study.results import load_table
from msa.train.metrics import METRICS, RATES, metric_keys

ENCODER_COLUMNS = (
    *("dataset", "view", "encoder", "model", "at", "metric", "n"),
    *("frozen", "finetuned"),
    *("gain", "lo", "hi", "p", "p_seeds"),
)


def publish_encoders(results: Path | None = None) -> tuple[str, ...]:
    """Compare every system that was run both ways, and store ``encoders.csv``.

    Rows of data sets that are not on this machine stay as they are.

    Returns
    -------
    tuple of str
        Files that changed.
    """
    return publish_compared("encoders", ENCODER_COLUMNS, compare_encoders, results)


def load_encoders(results: Path | None = None) -> pd.DataFrame:
    """Load the stored comparisons.

    Returns
    -------
    DataFrame
        ``dataset, view, encoder, model, at, metric, n, frozen, finetuned, gain, lo, hi,
        p, p_seeds``; scores as fractions. ``frozen`` and ``finetuned`` are means over
        the ``n`` seeds that both have; ``gain`` is what fine-tuning adds, positive if
        it is better (for MAE too), with its 95 % interval and the p-values of
        :func:`msa.study.pairs.load_pairs`.
    """
    return load_table("encoders", results).reindex(columns=list(ENCODER_COLUMNS))


def compare_encoders(dataset: str, evidence: Evidence) -> list[dict]:
    """Compare every system of a data set with itself, its text encoder trained along.

    Parameters
    ----------
    dataset : str
    evidence : Evidence
        Published runs of one feature view.

    Returns
    -------
    list of dict
        Rows of ``encoders.csv``; none where no seed was run both ways.

    Raises
    ------
    MissingData
        If the labels are not on this machine.
    """
    encoder = default_encoder(source(dataset, evidence.view).language)
    runs = evidence.runs[evidence.runs["encoder"] == encoder]
    trained = runs[(runs["dataset"] == dataset) & (runs["encoder_mode"] == "finetune")]
    named = dict.fromkeys(zip(trained["model"], trained["variant"], strict=True))
    models = [model for model, variant in named if parse_system(model)[1] == variant]
    metrics = metric_keys(source(dataset, evidence.view).scale)
    rows = []
    for model, at in product(models, (*RATES, "AUILC")):
        both = [
            evidence.seeds(dataset, [model], rates_of(at), encoder_mode=mode)
            for mode in ("finetune", "frozen")
        ]
        seeds = [seed for seed in both[0] if seed in both[1]]
        for metric in metrics if seeds else ():
            place = Place(dataset, metric, at)
            ours, frozen = (
                evidence.number(place, model, seeds, encoder_mode=mode)
                for mode in ("finetune", "frozen")
            )
            sign = 1.0 if METRICS[metric].higher_is_better else -1.0
            means = {
                "frozen": sign * frozen[0].mean(),
                "finetuned": sign * ours[0].mean(),
            }
            names = {"dataset": dataset, "view": evidence.view, "encoder": encoder}
            names |= {"model": model, "at": place.number, "metric": metric}
            names["n"] = len(seeds)
            rows.append(names | means | paired_gain(ours, frozen))
    return rows
