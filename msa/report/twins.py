"""What one change to the text features makes of a run: each beside its own twin."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Change:
    """One field of the configuration that a study turns on.

    Attributes
    ----------
    field : str
        Of the configuration; a run's twin is the same without it.
    study : str
        The study is called ``<dataset>-<study>``.
    ways : pair of str
        Heads of the columns without and with it.
    compared : str
        Both ways in words.
    settings : str
        Whose hyper-parameters the runs have.
    """

    field: str
    study: str
    ways: tuple[str, str]
    compared: str
    settings: str


SCALE = Change(
    field="text_scale",
    study="text-scale",
    ways=("as is", "scaled"),
    compared="with text features as the encoder gives them and with the same features "
    "centred and at unit spread",
    settings="published settings",
)

PROMPT = Change(
    field="spare_prompt",
    study="prompt",
    ways=("lost", "kept"),
    compared="with a prompt that goes missing like speech and with one that is kept",
    settings="settings of the main comparison",
)


def table(change: Change, dataset: str) -> Shown:
    """Put runs with a change beside the same runs without.

    Parameters
    ----------
    change : Change
    dataset : str
        A data set that has such a study.

    Returns
    -------
    Table or Markdown
        MAE in label units, a row per missing rate and system; a sentence where none is
        published.
    """
    both = _pairs(change, dataset)
    if both.empty:
        return not_run(f"{dataset}-{change.study}")
    means = both.groupby(["missing_rate", "model"], as_index=False).agg(
        {f"{split}_{METRIC} {way}": "mean" for split in SPLITS for way in change.ways}
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
        for way in change.ways:
            values = means[f"{split}_{METRIC} {way}"]
            cells[f"{title.capitalize()}, {way}"] = [printed(METRIC, v) for v in values]
    caption = (
        f"{axis_label(METRIC)} {change.compared}; {change.settings}, means over "
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
        f"{change.study}-{dataset}", caption, cells, no_marks(cells), means, commands
    )


def scale_in_words(dataset: str) -> str:
    """Say how often scaling helps on validation, and how many runs did not train."""
    both, title = _pairs(SCALE, dataset), source(dataset).title
    if both.empty:
        return f"{title} has no run with scaled text features yet."
    bar = fits_nothing_above(dataset, both["view"].iloc[0])
    stuck = {
        way: int((both[f"train_{METRIC} {way}"] > bar).sum()) for way in SCALE.ways
    }
    return (
        f"{title}: with scaled text the validation error is "
        f"{_lower(both, SCALE, 'valid')}; "
        f"{stuck['as is']} of these runs fit their own training split no better than "
        f"one answer with the features as they are, {stuck['scaled']} with scaled ones."
    )


def prompt_in_words(dataset: str) -> str:
    """Say what keeping the prompt changes on validation and test."""
    both, title = _pairs(PROMPT, dataset), source(dataset).title
    if both.empty:
        return f"{title} has no run with the prompt kept yet."
    return (
        f"{title}: with the prompt kept the validation error is "
        f"{_lower(both, PROMPT, 'valid')}, and the test error is "
        f"{_lower(both, PROMPT, 'test')}."
    )


def _lower(both: pd.DataFrame, change: Change, split: str) -> str:
    """Say in how many runs a change lowers an error, and by how much on average."""
    without, changed = (both[f"{split}_{METRIC} {way}"] for way in change.ways)
    gains = without - changed
    return (
        f"lower in {(gains > 0).sum()} of {len(gains)} runs, by "
        f"{printed(METRIC, gains.mean())} on average"
    )


def _pairs(change: Change, dataset: str) -> pd.DataFrame:
    """Return the changed runs whose twin without is published, both errors."""
    changed, runs = load_runs(f"{dataset}-{change.study}"), load_runs()
    if changed.empty:
        return changed
    changed = changed.reset_index(drop=True)
    twins = [
        config_of(row).model_copy(update={change.field: None}).run_id
        for row in changed.to_dict("records")
    ]
    errors = runs.set_index("run_id")[[f"{split}_{METRIC}" for split in SPLITS]]
    before, after = (f" {way}" for way in change.ways)
    plain = errors.reindex(twins).reset_index(drop=True).add_suffix(before)
    own = changed[list(errors)].add_suffix(after)
    return pd.concat([changed, plain, own], axis=1).dropna(subset=list(plain))
