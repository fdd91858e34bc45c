"""What the released code's differences change: each paired with the paper variant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from msa.data.contract import Split
from msa.data.load import MissingData, load
from msa.data.registry import source
from msa.models.differences import RELEASED_MODELS, changes
from msa.study.publish import publish_table
from msa.study.results import load_predictions, load_runs, load_table
from msa.study.stats import Scored, estimate, paired_difference, scored, together
from msa.train.config import RunConfig

TABLE = "released"
"""Name of the stored table."""

COLUMNS = (
    *("dataset", "view", "encoder", "model", "change", "missing_rate", "metric"),
    *("seeds", "n", "clips", "paper", "released", "difference", "lo", "hi", "runs"),
)


def publish_switches(results: Path | None = None) -> tuple[str, ...]:
    """Pair every published change with the paper variant and store the differences.

    Seeds that both have are compared, on the same masks and clips: those that neither
    leaves out (a released variant drops its last incomplete batch). Data sets whose
    labels are not on this machine keep their stored rows.

    Returns
    -------
    tuple of str
        Files that changed.
    """
    runs = load_runs(results=results)
    kept = load_switches(results)
    rows = []
    there = runs[runs["model"].isin(RELEASED_MODELS)]
    for (dataset, view, encoder), group in there.groupby(
        ["dataset", "view", "encoder"]
    ):
        try:
            test = load(dataset, view).splits["test"]
        except MissingData:
            here = (kept["dataset"] == dataset) & (kept["view"] == view)
            rows += kept[here & (kept["encoder"] == encoder)].to_dict("records")
            continue
        made: dict[str, np.ndarray] = {}
        for model in RELEASED_MODELS:
            made |= load_predictions(dataset, model, results)
        score = cache(partial(_score, made, test, source(dataset, view).scale))
        where = {"dataset": dataset, "view": view, "encoder": encoder}
        rows += _compared(group, where, score)
    return publish_table(TABLE, pd.DataFrame(rows, columns=list(COLUMNS)), results)


def load_switches(results: Path | None = None) -> pd.DataFrame:
    """Load the stored differences, one row per change, rate and metric."""
    return load_table(TABLE, results).reindex(columns=list(COLUMNS))


def _score(
    predictions: Mapping[str, np.ndarray],
    test: Split,
    scale: str,
    run_id: str,
    partner: str,
) -> tuple[Scored, int]:
    """Score a run on the clips that both it and its partner have, and count them."""
    both = ~np.isnan(predictions[run_id]) & ~np.isnan(predictions[partner])
    shared = np.where(both, predictions[run_id], np.nan)
    found = scored([shared], test.labels.numpy(), scale, test.videos)
    return found, int(both.sum())


def _compared(
    runs: pd.DataFrame,
    where: dict[str, str],
    score: Callable[[str, str], tuple[Scored, int]],
) -> list[dict[str, object]]:
    """Rows of one data set and encoder."""
    published = set(runs["run_id"])
    rates, seeds = sorted(runs["missing_rate"].unique()), sorted(runs["seed"].unique())
    rows = []
    for model in RELEASED_MODELS:
        for name, fields in changes(model).items():
            for rate in map(float, rates):
                pairs = []
                for seed in map(int, seeds):
                    shared = {"model": model, "missing_rate": rate, "seed": seed}
                    plain = RunConfig.resolve(**where, **shared).run_id
                    changed = RunConfig.resolve(**where, **shared, **fields).run_id
                    if {plain, changed} <= published:
                        pairs.append((seed, plain, changed))
                if pairs:
                    key = {**where, "model": model, "change": name}
                    key["missing_rate"] = rate
                    rows += _rows(key, pairs, score)
    return rows


def _rows(
    key: dict[str, object],
    pairs: list[tuple[int, str, str]],
    score: Callable[[str, str], tuple[Scored, int]],
) -> list[dict[str, object]]:
    """One row per metric of one change at one rate."""
    of_plain = [score(first, second) for _, first, second in pairs]
    of_changed = [score(second, first) for _, first, second in pairs]
    plain = together([found for found, _ in of_plain])
    changed = together([found for found, _ in of_changed])
    clips = min(count for _, count in of_plain)
    means = {"paper": estimate(plain), "released": estimate(changed)}
    return [
        {
            **key,
            "metric": metric,
            "seeds": " ".join(str(seed) for seed, _, _ in pairs),
            "n": found.n,
            "clips": clips,
            **{column: each[metric].mean for column, each in means.items()},
            "difference": found.mean,
            "lo": found.lo,
            "hi": found.hi,
            "runs": " ".join(run for _, _, run in pairs),
        }
        for metric, found in paired_difference(changed, plain).items()
    ]
