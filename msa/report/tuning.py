"""The search for settings: what was tried, what validation chose, what is used."""

from __future__ import annotations

import pandas as pd

from msa.data.registry import source
from msa.report.beyond import Shown, not_run
from msa.report.labels import axis_label, describe, printed
from msa.report.run_tables import commands_of
from msa.report.tables import BEST, Table, no_marks
from msa.study.grids import CANDIDATES
from msa.study.results import load_runs
from msa.study.tuning import choices
from msa.train.config import RunConfig

METRIC = "MAE"
"""What the search compares, on the validation split."""


def table(dataset: str) -> Shown:
    """Tabulate a data set's candidate settings, a row each.

    Parameters
    ----------
    dataset : str
        A key of ``CANDIDATES``.

    Returns
    -------
    Table or Markdown
        MAE in label units on the training and validation split; a sentence where no
        candidate is published.
    """
    tried = _tried(dataset)
    if tried.empty:
        return not_run(f"{dataset}-tuning")
    cells = pd.DataFrame({"System": tried["model"], "Setting": tried["setting"]})
    for split, title in (("train", "training"), ("valid", "validation")):
        values = tried[f"{split}_{METRIC}"]
        cells[f"{axis_label(METRIC)}, {title}"] = [printed(METRIC, v) for v in values]
    cells["Used"] = ["used" if used else "" for used in tried["used"]]
    marks = no_marks(cells)
    marks.loc[tried["chosen"], f"{axis_label(METRIC)}, validation"] = BEST
    caption = (
        "Four settings of each system, the published one first; the lowest validation "
        "error of a system's four, in full precision, in bold; used: by the study's "
        f"other runs. {describe(tried)}"
    )
    data = tried[["run_id", "model", "setting", "chosen", "used"]].assign(
        train_MAE=tried["train_MAE"], valid_MAE=tried["valid_MAE"]
    )
    commands = {row: [command] for row, command in enumerate(commands_of(tried))}
    return Table(f"tuning-{dataset}", caption, cells, marks, data, commands)


def in_words(dataset: str) -> str:
    """Say which systems use what the search found best, and what the others forgo."""
    tried, title = _tried(dataset), source(dataset).title
    searched = tried.loc[tried["chosen"], "model"]  # a choice is of a complete set
    tried = tried[tried["model"].isin(searched)]
    if tried.empty:
        return f"{title}: no system has all four settings published yet."
    best = tried[tried["chosen"]].set_index("model")
    used = tried[tried["used"]].set_index("model")
    kept = [m for m in used.index if not best["used"][m]]
    told = (
        f"{title}: {len(best) - len(kept)} of {len(best)} systems use the setting with "
        f"the lowest validation error of their four, one run each ({_where(tried)})."
    )
    if kept:
        gap = used["valid_MAE"] - best["valid_MAE"]
        lost = [f"{m} ({printed(METRIC, gap[m])} above)" for m in kept]
        told += f" The published setting is kept by {', '.join(lost)}."
    return told


def _where(tried: pd.DataFrame) -> str:
    rates = sorted({f"{rate:.1f}" for rate in tried["missing_rate"]})
    seeds = sorted({str(seed) for seed in tried["seed"]})
    return f"missing rate {', '.join(rates)}, seed {', '.join(seeds)}"


def _tried(dataset: str) -> pd.DataFrame:
    """Return the published candidates with their errors, as the study lists them."""
    table = choices(dataset).drop(columns=[f"valid_{METRIC}", "model"])
    runs = load_runs(f"{dataset}-tuning")
    tried = table.merge(runs, on="run_id", how="inner")
    usual = {
        RunConfig.resolve(dataset=dataset, model=model).run_id
        for model in CANDIDATES[dataset]
    }
    return tried.assign(
        setting=[_in_words(candidate) for candidate in tried["candidate"]],
        used=tried["run_id"].isin(usual),
    )


def _in_words(candidate: dict[str, object]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {_value(value)}" for name, value in candidate.items()
    )


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, int | float) else str(value)
