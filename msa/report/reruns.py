"""What making a run again gives: published runs of one training, pair by pair.

Some studies train what another one has trained before, to record more of it. Their runs
differ in nothing that decides a score, so the difference of their scores is what the
processor and the order of sums make of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from msa.report.beyond import Shown, not_run, plain_table
from msa.report.labels import axis_label, describe, printed
from msa.report.style import system_order
from msa.study.results import config_of, load_environments, load_runs

RECORDED = (
    *("selection", "reconstruction_error", "evaluate_rates", "evaluate_patterns"),
)
"""Fields of a configuration that record more of a run and change nothing in it."""

LIKE_NUMBERS = ("device", "cpu", "rounding", "cpu_kind", "instructions")
"""What two runs of one training have to share to give the same numbers."""

SAME = "the same kind of processor and rounding"
NAMED = "a processor of the same name, with the same rounding"
OTHER = "another processor or rounding"
"""The kinds of pairs. By its name alone the processor is known of runs from before its
generation was recorded."""


def pairs(metric: str = "MAE") -> pd.DataFrame:
    """Return every pair of published runs that are one training.

    Runs without epochs are left out: a closed form is no training that could part.

    Returns
    -------
    DataFrame
        ``kind`` (:data:`SAME` or :data:`OTHER`), ``model``, the two ``run_id`` and
        ``difference`` of the test scores, as scores are.
    """
    runs, places = load_runs(), load_environments()
    columns = ["kind", "model", "first", "second", "difference"]
    if runs.empty:
        return pd.DataFrame(columns=columns)
    runs = runs[runs["epochs"] > 0]
    training = runs["run_id"].copy()
    for at, row in runs[runs[list(RECORDED)].notna().any(axis=1)].iterrows():
        plain = config_of(row).model_copy(update=dict.fromkeys(RECORDED))
        training[at] = plain.run_id
    found = []
    twice = training.duplicated(keep=False)
    for _, group in runs[twice].groupby(training[twice]):
        for one, other in combinations(group.to_dict("records"), 2):
            kind = _kind(*(places[row["environment"]] for row in (one, other)))
            gain = other[f"test_{metric}"] - one[f"test_{metric}"]
            ids = (one["run_id"], other["run_id"])
            found.append((kind, one["model"], *ids, gain))
    return pd.DataFrame(found, columns=columns).dropna()


def _kind(here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    """Tell how alike the places are that two runs were made in."""
    recorded = [name for name in LIKE_NUMBERS if name in here and name in there]
    if any(here[name] != there[name] for name in recorded):
        return OTHER
    if ("rounding" in here) != ("rounding" in there):
        return OTHER  # the older of them is from before it was first raised
    return SAME if "cpu_kind" in recorded else NAMED


def table(metric: str = "MAE") -> Shown:
    """Tabulate how far two runs of one training are apart, by where they were made."""
    found = pairs(metric)
    if found.empty:
        return not_run("selection")
    rows = []
    for kind in (SAME, NAMED, OTHER):
        own = found[found["kind"] == kind]
        if own.empty:
            continue
        size = own["difference"].abs()
        rows.append(
            {
                "Made again on": kind,
                "Pairs": len(own),
                "Equal to the last digit": int((size == 0).sum()),
                "Mean difference": printed(metric, size.mean()),
                "Largest": printed(metric, size.max()),
                "Standard deviation of one run": printed(metric, _deviation(own)),
                "Systems": ", ".join(system_order(own["model"])),
            }
        )
    runs = load_runs()
    behind = runs[runs["run_id"].isin([*found["first"], *found["second"]])]
    caption = (
        f"{axis_label(metric)} on the test split of two published trainings with "
        "one configuration, seeds included. Of the same name: several generations of "
        "processors can have one, and which it was is recorded in later runs only. "
        "Rounding: code that computes the same and "
        "adds up in another order. Standard deviation of one run: root mean square of "
        f"the differences over the square root of 2. {describe(behind)}"
    )
    return plain_table(pd.DataFrame(rows), found, f"reruns-{metric}", caption)


def in_words(metric: str = "MAE") -> str:
    """Say how often a run made again gives the same score, and how far off it is."""
    found = pairs(metric)
    told = []
    for kind, own in found.groupby("kind", sort=False):
        same = int((own["difference"] == 0).sum())
        told.append(
            f"on {kind} the same score in {same} of {len(own)} pairs"
            + (
                f", and together they are apart like draws with a standard deviation "
                f"of {printed(metric, _deviation(own))} in {axis_label(metric)}"
                if same < len(own)
                else ""
            )
        )
    if not told:
        return "No training is published twice yet."
    return f"A run made again gave, {'; '.join(sorted(told))}."


def _deviation(own: pd.DataFrame) -> float:
    """Return the standard deviation of one of two independent draws."""
    return float(np.sqrt(np.mean(own["difference"] ** 2) / 2))
