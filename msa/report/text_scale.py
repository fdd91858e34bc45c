"""What scaling the text features changes, run by run."""

from __future__ import annotations

import pandas as pd

from msa.data.registry import source
from msa.report.beyond import Shown, in_usual_order, not_run
from msa.report.labels import axis_label, describe, printed
from msa.report.run_tables import commands_of
from msa.report.tables import Table, no_marks
from msa.report.untrained import fits_nothing_above
from msa.study.results import config_of, load_runs

METRIC = "MAE"
"""What is compared; on the training split it tells whether a run trained at all."""

SPLITS = {"train": "training", "valid": "validation", "test": "test"}

WAYS = ("as is", "scaled")


def table(dataset: str) -> Shown:
    """Put runs with scaled text features beside the same runs without.

    Parameters
    ----------
    dataset : str
        A data set that has a study ``<dataset>-text-scale``.

    Returns
    -------
    Table or Markdown
        MAE in label units, a row per missing rate and system; a sentence where none is
        published.
    """
    both = _pairs(dataset)
    if both.empty:
        return not_run(f"{dataset}-text-scale")
    means = both.groupby(["missing_rate", "model"], as_index=False).agg(
        {f"{split}_{METRIC} {way}": "mean" for split in SPLITS for way in WAYS}
        | {"seed": "nunique"}
    )
    means = in_usual_order(means, "missing_rate")
    cells = pd.DataFrame(
        {
            "Rate": means["missing_rate"].map("{:.1f}".format),
            "System": means["model"],
            "Seeds": means["seed"].map(str),
        }
    )
    for split, title in SPLITS.items():
        for way in WAYS:
            values = means[f"{split}_{METRIC} {way}"]
            cells[f"{title.capitalize()}, {way}"] = [printed(METRIC, v) for v in values]
    caption = (
        f"{axis_label(METRIC)} with text features as the encoder gives them and with "
        "the same features centred and at unit spread; published settings, means over "
        f"the seeds that both have. {describe(both)}"
    )
    groups = dict(list(both.groupby(["missing_rate", "model"])))
    commands = {
        row: commands_of(groups[rate, model])
        for row, (rate, model) in enumerate(
            zip(means["missing_rate"], means["model"], strict=True)
        )
    }
    return Table(
        f"text-scale-{dataset}", caption, cells, no_marks(cells), means, commands
    )


def in_words(dataset: str) -> str:
    """Say how often scaling helps on validation, and how many runs did not train."""
    both, title = _pairs(dataset), source(dataset).title
    if both.empty:
        return f"{title} has no run with scaled text features yet."
    bar = fits_nothing_above(dataset, both["view"].iloc[0])
    gains = both[f"valid_{METRIC} as is"] - both[f"valid_{METRIC} scaled"]
    stuck = {way: int((both[f"train_{METRIC} {way}"] > bar).sum()) for way in WAYS}
    return (
        f"{title}: with scaled text the validation error is lower in "
        f"{(gains > 0).sum()} of {len(gains)} runs, by "
        f"{printed(METRIC, gains.mean())} on average; "
        f"{stuck['as is']} of these runs fit their own training split no better than "
        f"one answer with the features as they are, {stuck['scaled']} with scaled ones."
    )


def _pairs(dataset: str) -> pd.DataFrame:
    """Return the runs with scaled text whose twin without is published, both errors."""
    scaled, runs = load_runs(f"{dataset}-text-scale"), load_runs()
    if scaled.empty:
        return scaled
    scaled = scaled.reset_index(drop=True)
    twins = [
        config_of(row).model_copy(update={"text_scale": None}).run_id
        for row in scaled.to_dict("records")
    ]
    errors = runs.set_index("run_id")[[f"{split}_{METRIC}" for split in SPLITS]]
    plain = errors.reindex(twins).reset_index(drop=True).add_suffix(" as is")
    own = scaled[list(errors)].add_suffix(" scaled")
    return pd.concat([scaled, plain, own], axis=1).dropna(subset=list(plain))
