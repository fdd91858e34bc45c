"""How many points each rule for choosing an epoch is worth."""

from __future__ import annotations

import pandas as pd

from msa.report.beyond import (
    Shown,
    lone_seeds,
    mean_of_seeds,
    not_run,
    plain_table,
    seeds_in_words,
    turned,
)
from msa.report.labels import axis_label, decimals_of, describe, of_metric, shown
from msa.study.results import load_epochs, load_runs
from msa.study.selection import (
    BEST_PER_METRIC,
    RULES,
    TEST_BEST,
    VALIDATION_BEST,
    scores_by_rule,
)
from msa.train.metrics import METRICS


def table(metric: str = "Non0_acc_2") -> Shown:
    """Tabulate what each rule to choose a checkpoint makes of the same runs."""
    own = _by_rule(metric)
    if own.empty:
        return not_run("selection")
    rows = []
    for (rate, model), group in own.groupby(["missing_rate", "model"]):
        by = group.pivot(index="run_id", columns="rule", values="value")
        sign = 1 if METRICS[metric].higher_is_better else -1
        row = {"Rate": f"{rate:.1f}", "System": model}
        row |= {rule: mean_of_seeds(metric, by[rule]) for rule in RULES}
        for rule in (BEST_PER_METRIC, TEST_BEST):
            gain = sign * shown(metric, float((by[rule] - by[VALIDATION_BEST]).mean()))
            row[f"{rule} buys"] = f"{gain:+z.{decimals_of(metric)}f}"
        rows.append(row)
    caption = (
        f"{axis_label(metric)} of the same runs with three rules to choose the epoch: "
        + "; ".join(f"{rule}: {what}" for rule, what in RULES.items())
        + f". Buys: gain over {VALIDATION_BEST}, positive is better. {describe(own)}"
        f"{lone_seeds(own, ['missing_rate', 'model'])}"
    )
    return plain_table(pd.DataFrame(rows), own, f"selection-{metric}", caption)


def in_words(metric: str = "Non0_acc_2") -> str:
    """Say what each shortcut buys on average, and how often it turns systems round."""
    own = _by_rule(metric)
    if own.empty:
        return "No run of the study `selection` is published yet."
    means = own.groupby(["missing_rate", "rule", "model"])["value"].mean().unstack()
    rates = sorted(own["missing_rate"].unique())
    sign = 1 if METRICS[metric].higher_is_better else -1
    told = []
    for rule, what in (
        (TEST_BEST, "Choosing the epoch on the test split"),
        (BEST_PER_METRIC, "the best epoch of each metric on validation"),
    ):
        # A rate has the systems that were run there.
        tables = [
            means.loc[r].loc[[VALIDATION_BEST, rule]].dropna(axis=1) for r in rates
        ]
        counts = [turned(*table.to_numpy()) for table in tables]
        pairs, changed = (sum(column) for column in zip(*counts, strict=True))
        gain = float(
            pd.concat([t.loc[rule] - t.loc[VALIDATION_BEST] for t in tables]).mean()
        )
        bought = f"{sign * shown(metric, gain):+z.{decimals_of(metric)}f}"
        told.append(
            f"{what} buys {bought} in {axis_label(metric)} on average and turns "
            f"{changed} of {pairs} pairs of systems round"
        )
    places = ", ".join(f"{rate:.1f}" for rate in rates)
    return (
        f"{'; '.join(told)} (missing rate {places}; {own['model'].nunique()} systems, "
        f"{seeds_in_words(own)})."
    )


def _by_rule(metric: str) -> pd.DataFrame:
    epochs, runs = load_epochs("selection"), load_runs("selection")
    if epochs.empty or runs.empty:
        return pd.DataFrame()
    found = scores_by_rule(epochs, runs.set_index("run_id")["best_epoch"])
    return of_metric(found, metric).merge(runs, on="run_id")
