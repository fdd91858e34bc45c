"""Which epoch's weights a run is scored with: what each rule to choose them is worth.

All rules look at the same training; only the first one needs no second look at the
test split or no second checkpoint.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from msa.train.metrics import METRICS

VALIDATION_BEST = "validation-best"
BEST_PER_METRIC = "best-per-metric"
TEST_BEST = "test-best"

RULES = {
    VALIDATION_BEST: "the epoch with the lowest MAE on the validation split serves all "
    "metrics: this study's rule",
    BEST_PER_METRIC: "each metric has the epoch at which it is best on the validation "
    "split: several checkpoints make one row of a table",
    TEST_BEST: "each metric has the epoch at which it is best on the test split: the "
    "test split chooses what it then scores",
}
"""Rules by name, with what they mean."""


def scores_by_rule(epochs: pd.DataFrame) -> pd.DataFrame:
    """Score runs with every rule to choose a checkpoint.

    Parameters
    ----------
    epochs : DataFrame
        ``run_id, epoch, split, metric, value`` as
        :func:`msa.study.publish.load_epochs` has them.

    Returns
    -------
    DataFrame
        ``run_id, rule, metric, epoch, value``: the test score at the epoch that the
        rule chooses, the first one of equals. An epoch at which the deciding score is
        undefined is not chosen while there is another.
    """
    rows = []
    for run_id, own in epochs.groupby("run_id", sort=False):
        wide = own.pivot(index="epoch", columns=["split", "metric"], values="value")
        valid, test = wide["valid"], wide["test"]
        for metric in [key for key in METRICS if key in test]:
            deciding = {
                VALIDATION_BEST: (valid, "MAE"),
                BEST_PER_METRIC: (valid, metric),
                TEST_BEST: (test, metric),
            }
            for rule, (scores, by) in deciding.items():
                epoch = _best(scores[by], METRICS[by].higher_is_better)
                value = test.at[epoch, metric]
                rows.append((run_id, rule, metric, epoch, value))
    return pd.DataFrame(rows, columns=["run_id", "rule", "metric", "epoch", "value"])


def _best(scores: pd.Series, higher_is_better: bool) -> int:
    """First epoch with the best score."""
    gain = scores if higher_is_better else -scores
    return int(gain.fillna(-np.inf).idxmax())
