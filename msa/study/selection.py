"""Which epoch's weights a run is scored with: what each rule to choose them is worth.

All rules look at the same training; only the first one needs no second look at the
test split or no second checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from msa.train.metrics import METRICS

VALIDATION_BEST = "validation-best"
BEST_PER_METRIC = "best-per-metric"
TEST_BEST = "test-best"

RULES = {
    VALIDATION_BEST: "the epoch with the lowest task loss on the validation split (the "
    "MAE; for MISA the squared error) serves all metrics: this study's rule",
    BEST_PER_METRIC: "each metric has the epoch at which it is best on the validation "
    "split: several checkpoints make one row of a table",
    TEST_BEST: "each metric has the epoch at which it is best on the test split: the "
    "test split chooses what it then scores",
}
"""Rules by name, with what they mean."""


def scores_by_rule(
    epochs: pd.DataFrame, best_epochs: Mapping[str, int]
) -> pd.DataFrame:
    """Score runs with every rule to choose a checkpoint.

    Parameters
    ----------
    epochs : DataFrame
        ``run_id, epoch, split, metric, value`` as
        :func:`msa.study.results.load_epochs` has them.
    best_epochs : mapping of str to int
        The epoch whose weights each run kept, by run id: what this study's rule chose.

    Returns
    -------
    DataFrame
        ``run_id, rule, metric, epoch, value``: the test score at the epoch that the
        rule chooses, of the other rules the first one of equals. An epoch at which the
        deciding score is undefined is not chosen while there is another.
    """
    rows = []
    for run_id, own in epochs.groupby("run_id", sort=False):
        wide = own.pivot(index="epoch", columns=["split", "metric"], values="value")
        valid, test = wide["valid"], wide["test"]
        for metric in [key for key in METRICS if key in test]:
            higher = METRICS[metric].higher_is_better
            chosen = {
                VALIDATION_BEST: int(best_epochs[run_id]),
                BEST_PER_METRIC: _best(valid[metric], higher),
                TEST_BEST: _best(test[metric], higher),
            }
            for rule, epoch in chosen.items():
                value = test.at[epoch, metric]
                rows.append((run_id, rule, metric, epoch, value))
    return pd.DataFrame(rows, columns=["run_id", "rule", "metric", "epoch", "value"])


def _best(scores: pd.Series, higher_is_better: bool) -> int:
    """First epoch with the best score."""
    gain = scores if higher_is_better else -scores
    return int(gain.fillna(-np.inf).idxmax())
