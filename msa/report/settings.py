"""One system with two values of a setting, from published runs."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
from IPython.display import Markdown

from msa.report.labels import axis_label, describe, printed, seeds_told, slug
from msa.report.run_tables import commands_of
from msa.report.tables import Table, no_marks
from msa.study.results import load_predictions, load_runs
from msa.train.config import RunConfig
from msa.train.metrics import METRICS as METRIC_TABLE

METRICS = ("MAE", "Corr")
"""Metrics compared on the test split."""

PROVENANCE = (
    "run_id",
    "dataset",
    "view",
    "encoder",
    "encoder_mode",
    "model",
    "variant",
)
PROVENANCE += ("missing_rate", "seed")


def setting_table(
    model: str, name: str, value: object, dataset: str = "mosi"
) -> Table | Markdown:
    """Compare a system as it is with one whose setting is another.

    Parameters
    ----------
    model : str
        A system; its default variant is shown.
    name : str
        Hyper-parameter that is changed.
    value : object
        Its other value.
    dataset : str
        Its default view and encoder are used.

    Returns
    -------
    Table or Markdown
        A row per missing rate: metrics, and the largest prediction without its sign (in
        label units), means over the seeds that both were run with; a sentence where
        there are none. ``data`` has a row per run.

    Raises
    ------
    ConfigError
        For a system, data set or hyper-parameter that does not exist.
    """
    kinds = _kinds(model, name, value, dataset)
    found = _run_both_ways(model, kinds, dataset)
    if found.empty:
        other = json.dumps(value)
        return Markdown(f"No published run of {model} has {name} at {other} yet.")
    predictions = load_predictions(dataset, model)
    found["largest"] = [np.nanmax(np.abs(predictions[i])) for i in found["run_id"]]
    shown = [*(f"test_{metric}" for metric in METRICS), "largest"]
    means = found.groupby(["missing_rate", "kind"])[shown].mean().unstack("kind")
    seeds = found.groupby("missing_rate")["seed"].nunique()
    cells = pd.DataFrame({"Missing rate": means.index.map("{:.1f}".format)})
    cells["Seeds"] = seeds.map(str).to_numpy()
    for metric, kind in itertools.product(METRICS, kinds):
        values = means[f"test_{metric}", kind]
        cells[f"{axis_label(metric)}, {kind}"] = [printed(metric, v) for v in values]
    for kind in kinds:
        values = means["largest", kind]
        cells[f"Largest prediction, {kind}"] = [f"{v:.1f}" for v in values]
    caption = (
        f"{model} with two values of {name}: test scores, and the largest prediction "
        f"without its sign; means over seeds. {describe(found)}"
    )
    return Table(
        f"setting-{slug(model)}-{name}",
        caption,
        cells,
        no_marks(cells),
        found[[*PROVENANCE, "kind", *shown]],
        dict(enumerate(commands_of(own) for _, own in found.groupby("missing_rate"))),
    )


def setting_in_words(
    model: str, name: str, value: object, dataset: str = "mosi", metric: str = "MAE"
) -> str:
    """Count the missing rates at which another value of a setting is better.

    Parameters
    ----------
    model, name, value, dataset
        As :func:`setting_table` takes them.
    metric : str
        Compared on the validation and on the test split, as a mean over the seeds that
        were run both ways.

    Returns
    -------
    str
        A sentence; empty where nothing was run both ways.

    Raises
    ------
    ConfigError
        For a system, data set or hyper-parameter that does not exist.
    """
    kinds = _kinds(model, name, value, dataset)
    found = _run_both_ways(model, kinds, dataset)
    if found.empty:
        return ""
    usual, other = kinds
    sign = 1 if METRIC_TABLE[metric].higher_is_better else -1
    told = []
    for split, title in (("valid", "validation"), ("test", "test")):
        means = found.groupby(["missing_rate", "kind"])[f"{split}_{metric}"].mean()
        gain = sign * (means.unstack()[other] - means.unstack()[usual])
        told.append(f"at {(gain > 0).sum()} on the {title} split")
    rates = found["missing_rate"].nunique()
    seeds = found.groupby(["missing_rate", "kind"])["seed"].nunique()
    return (
        f"{model}: {other}, in place of {usual}, is better in {axis_label(metric)} "
        f"{' and '.join(told)}, of {rates} missing rate{'s' if rates > 1 else ''} run "
        f"both ways with {seeds_told(seeds)}."
    )


def _kinds(
    model: str, name: str, value: object, dataset: str
) -> dict[str, dict[str, object]]:
    """Return the usual setting and the other one: words to what is set."""
    RunConfig.resolve(dataset=dataset, model=model, hyper={name: value})  # or refused
    usual = RunConfig.resolve(dataset=dataset, model=model).hyper[name]
    return {_told(name, usual): {}, _told(name, value): {name: value}}


def _run_both_ways(
    model: str, kinds: dict[str, dict[str, object]], dataset: str
) -> pd.DataFrame:
    """Return the runs, with their ``kind``, at the rates and seeds that have both."""
    runs = load_runs()
    own = runs[(runs["dataset"] == dataset) & (runs["model"] == model)]
    parts = [own.head(0).assign(kind="")]
    for rate, seed in sorted(set(zip(own["missing_rate"], own["seed"], strict=True))):
        fields = {"dataset": dataset, "missing_rate": float(rate), "seed": int(seed)}
        ids = {
            kind: RunConfig.resolve(model=model, hyper=hyper, **fields).run_id
            for kind, hyper in kinds.items()
        }
        if set(ids.values()) <= set(own["run_id"]):
            parts += [
                own[own["run_id"] == run_id].assign(kind=kind)
                for kind, run_id in ids.items()
            ]
    return pd.concat(parts, ignore_index=True)


def _told(name: str, value: object) -> str:
    return f"{name} {'off' if value is None else value}"
