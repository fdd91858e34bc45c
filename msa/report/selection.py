"""How many points each rule for choosing an epoch is worth."""

from __future__ import annotations

from itertools import combinations

import pandas as pd

from msa.report.beyond import (
    Shown,
    lone_seeds,
    mean_of_seeds,
    not_run,
    plain_table,
    seeds_in_words,
    turned_in,
)
from msa.report.labels import (
    axis_label,
    decimals_of,
    describe,
    main_runs,
    of_metric,
    shown,
)
from msa.study.results import load_epochs, load_runs
from msa.study.selection import (
    BEST_PER_METRIC,
    RULES,
    TEST_BEST,
    VALIDATION_BEST,
    scores_by_rule,
)
from msa.study.stats import student_interval
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
    scores = own.set_index(["missing_rate", "model", "seed", "rule"])["value"].unstack()
    systems = scores.groupby(["missing_rate", "seed"])[VALIDATION_BEST].transform(
        "size"
    )
    whole = scores[systems == systems.groupby("missing_rate").transform("max")]
    sign = 1 if METRICS[metric].higher_is_better else -1
    told = []
    for rule, what in (
        (TEST_BEST, "Choosing the epoch on the test split"),
        (BEST_PER_METRIC, "the best epoch of each metric on validation"),
    ):
        pairs, changed = _turned(whole[VALIDATION_BEST], whole[rule])
        gains = sign * (scores[rule] - scores[VALIDATION_BEST])
        gains = gains.groupby(["missing_rate", "model"]).mean()
        values = (float(gains.mean()), *student_interval(gains))
        gain, lo, hi = (
            f"{shown(metric, value):+z.{decimals_of(metric)}f}" for value in values
        )
        told.append(
            f"{what} buys {gain} in {axis_label(metric)} on average [{lo} to {hi}] and "
            f"turns {changed} of {pairs} pairs of systems round"
            f" ({100 * changed / pairs:.0f} %)"
        )
    places = ", ".join(f"{rate:.1f}" for rate in sorted(own["missing_rate"].unique()))
    return (
        f"{'; '.join(told)} (missing rate {places}; {own['model'].nunique()} systems, "
        f"{seeds_in_words(own)}; pairs on the seeds that every system has; interval: "
        "Student's, over systems and rates, not over clips and seeds; on the test "
        f"split no gain can be below 0). {_by_another_seed(metric, own)}"
    ).rstrip()


def _turned(usual: pd.Series, other: pd.Series) -> tuple[int, int]:
    """Count pairs of systems of one rate and seed, and those that ``other`` turns."""
    groups = usual.groupby(["missing_rate", "seed"]).groups.values()
    return turned_in((usual[places], other[places]) for places in groups)


def _by_another_seed(metric: str, own: pd.DataFrame) -> str:
    """Say how many pairs another seed turns: what a rule has to be held against."""
    runs, column = load_runs(), f"test_{metric}"
    runs = main_runs(runs, runs)
    if runs.empty or column not in runs:
        return ""
    here = runs["missing_rate"].isin(own["missing_rate"])
    for name in ("dataset", "view", "encoder", "encoder_mode", "model"):
        here &= runs[name].isin(own[name])
    scores = runs[here].set_index(["missing_rate", "model", "seed"])[column]
    wide = scores.unstack("seed")
    pairs, changed = turned_in(
        (both[one], both[other])
        for one, other in combinations(wide, 2)
        for _, both in wide[[one, other]].dropna().groupby("missing_rate")
    )
    if not pairs:
        return ""
    return (
        f"Another seed with this study's rule turns {changed} of {pairs} "
        f"({100 * changed / pairs:.0f} %)."
    )


def _by_rule(metric: str) -> pd.DataFrame:
    epochs, runs = load_epochs("selection"), load_runs("selection")
    if epochs.empty or runs.empty:
        return pd.DataFrame()
    found = scores_by_rule(epochs, runs.set_index("run_id")["best_epoch"])
    return of_metric(found, metric).merge(runs, on="run_id")
