"""Errors of reconstructed features against those of plain imputations."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from msa.data.contract import MODALITIES
from msa.report.beyond import Shown, not_run, plain_table, seeds_in_words
from msa.report.figures import closed_picture
from msa.report.labels import describe, printed
from msa.report.style import house_style, system_order, system_style
from msa.study.cells import IMPUTATIONS
from msa.study.results import load_reconstructions, load_runs
from msa.train.reconstruction import METHODS

_COLUMNS = (
    *("run_id", "dataset", "view", "encoder", "encoder_mode", "model", "variant"),
    *("missing_rate", "seed", "tested", "modality", "method", "metric", "n", "value"),
)
"""Columns of the table's data; what else a run has is in runs.csv."""


def table() -> Shown:
    """Tabulate reconstruction errors beside imputations, by rate and modality."""
    own = _rebuilt()
    if own.empty:
        return not_run("reconstruction")
    errors = own[own["metric"] == "rmse"]
    place, rows = ["model", "modality", "tested"], []
    linked = own[(own["metric"] == "spearman") & own["modality"].isin(MODALITIES)]
    links = linked.groupby(place)["value"].mean()
    for key, group in errors.groupby(place, sort=False):
        model, modality, rate = key
        by = group.groupby("method")["value"].mean()
        n = group["run_id"].nunique()
        methods = {m: f"{by[m]:.3f}" for m in METHODS}
        row = {"System": model, "Modality": modality, "Rate": f"{rate:.1f}"}
        link = printed("Corr", links.get(key, np.nan))
        rows.append({**row, **methods, "Spearman": link, "Seeds": n})
    frame = pd.DataFrame(rows).sort_values(["System", "Modality", "Rate"])
    caption = (
        "Root mean squared error on the missing steps of the test split, in units of "
        "each feature's spread on the training split: the reconstruction "
        "(model), zeros, the training mean, the last value before, and what the model "
        "is given instead (input), means over seeds. Spearman: correlation, over clips "
        "that miss a step, of the reconstruction's error with the absolute error of "
        f"the prediction, mean over seeds. {describe(own)}"
    )
    shown = pd.concat([errors, linked]).filter(items=_COLUMNS)
    return plain_table(frame, shown, "reconstruction", caption)


def picture() -> Shown:
    """Draw reconstruction errors and imputations against the missing rate."""
    own = _rebuilt()
    if own.empty:
        return not_run("reconstruction")
    errors = own[own["metric"] == "rmse"]
    looks = {"mean": ("#6E6E6E", ":"), "last": ("#B07D00", "--")}
    with house_style():
        figure, axes = plt.subplots(
            1, len(MODALITIES), figsize=(11.0, 3.8), layout="constrained"
        )
        for axis, modality in zip(axes, MODALITIES, strict=True):
            part = errors[errors["modality"] == modality]
            for model in system_order(part["model"]):
                line = part[(part["model"] == model) & (part["method"] == "model")]
                style = system_style(model)
                axis.plot(line["tested"], line["value"], ".", color=style.colour)
                mean = line.groupby("tested")["value"].mean()
                look = {"color": style.colour, "marker": style.marker, "label": model}
                axis.plot(mean.index, mean, **look)
            for method, (colour, dash) in looks.items():
                mean = part[part["method"] == method].groupby("tested")["value"].mean()
                axis.plot(mean.index, mean, dash, color=colour, label=f"{method} value")
            axis.set(title=modality, xlabel="missing rate", ylim=(0, None))
        axes[0].set_ylabel("error (spreads of the feature)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper")
    caption = (
        "Error of the reconstructed features on missing test steps (lines: means over "
        f"seeds, dots: seeds) beside two of the three imputations; zeros lie near "
        f"the mean. {describe(own)}"
    )
    alt = in_words()
    return closed_picture(figure, "reconstruction", alt, caption)


def in_words() -> str:
    """Count where reconstructions beat every imputation, and what errors predict."""
    own = _rebuilt()
    if own.empty:
        return "No run of the study `reconstruction` is published yet."
    errors = own[own["metric"] == "rmse"]
    keys = ["model", "modality", "tested"]
    means = errors.groupby([*keys, "method"])["value"].mean().unstack()
    guess = means[list(IMPUTATIONS)].min(axis=1)
    better = means["model"] < guess
    gain = 100 * (1 - means["model"] / guess)
    told = "; ".join(
        f"{model} in {part.sum()} of {len(part)} cells, at missing "
        f"{_rates_in_words(part.index.get_level_values('tested'))}"
        for model, part in better.groupby("model")
    )
    link = own[(own["metric"] == "spearman") & (own["modality"] == "all")]["value"]
    return (
        f"Reconstruction beats zeros, mean and last value ({seeds_in_words(own)}; a "
        f"cell is a rate and a modality): {told}. Its error is below "
        f"that of the best of these guesses by {gain.median():.1f} % (median; from "
        f"{gain.min():.1f} to {gain.max():.1f} %). It goes with the "
        f"error of the prediction by a Spearman correlation of {link.mean():.2f} over "
        f"clips, all modalities together (mean of runs; from {link.min():.2f} to "
        f"{link.max():.2f})."
    )


def _rates_in_words(rates: Sequence[float]) -> str:
    found = sorted(set(rates))
    told = ", ".join(f"{rate:.1f}" for rate in found)
    return f"rate{'s' if len(found) > 1 else ''} {told}"


def _rebuilt() -> pd.DataFrame:
    rows, runs = load_reconstructions("reconstruction"), load_runs("reconstruction")
    if rows.empty or runs.empty:
        return pd.DataFrame()
    rows = rows.rename(columns={"missing_rate": "tested"})
    return rows.merge(runs, on="run_id")
