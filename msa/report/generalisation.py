"""Runs tested at other missing rates and patterns than they were trained at."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from msa.data.missing import PATTERNS, PROTOCOL_PATTERN
from msa.report.beyond import (
    Shown,
    lone_seeds,
    mean_of_seeds,
    not_run,
    plain_table,
    seeds_in_words,
)
from msa.report.figures import closed_picture
from msa.report.labels import axis_label, describe, main_runs, of_metric, printed
from msa.report.style import house_style, system_order
from msa.report.tables import Table
from msa.study.results import load_evaluations, load_runs
from msa.train.metrics import METRICS

OWN_RATE = "its own rate"
"""What the protocol trains on: the rate of the test, one model for each."""

_LOOKS = {"mixed": "--", OWN_RATE: ":"}
"""Lines of trainings that are not at one rate."""


def _trained(runs: pd.DataFrame) -> pd.Series:
    """Name what a run was trained on: its missing rate, or mixed rates."""
    rates = runs["missing_rate"].map("{:.1f}".format)
    return rates.mask(runs["train_rates"] == "mixed", "mixed")


def _evaluated(name: str, metric: str) -> pd.DataFrame:
    """Return the further tests of a study in one metric, with their runs."""
    tests = load_evaluations(name)
    tests = of_metric(tests, metric).rename(columns={"missing_rate": "tested"})
    runs = load_runs(name)
    if tests.empty or runs.empty:
        return pd.DataFrame()
    runs = runs.assign(trained=_trained(runs))
    return tests.merge(runs, on="run_id")


def _at_own_rates(own: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the protocol's runs of the same systems and seeds: one model per rate."""
    score = f"test_{metric}"
    runs = load_runs("matrix-mosi")
    keys = ["dataset", "view", "encoder", "encoder_mode", "model", "variant", "seed"]
    asked = own[keys].drop_duplicates()
    if score not in runs:
        return pd.DataFrame()
    found = main_runs(runs).merge(asked, on=keys)
    tested = {"tested": found["missing_rate"], "value": found[score]}
    return found.assign(trained=OWN_RATE, pattern=PROTOCOL_PATTERN, **tested)


def _all_trainings(metric: str) -> pd.DataFrame:
    """Return the runs of ``rates`` at every test rate, with the protocol's beside."""
    own = _evaluated("rates", metric)
    if own.empty:
        return own
    return pd.concat([own, _at_own_rates(own, metric)], ignore_index=True)


def rates_table(metric: str = "MAE") -> Shown:
    """Tabulate models of one training rate, or of mixed rates, at every test rate."""
    own = _all_trainings(metric)
    if own.empty:
        return not_run("rates")
    return _crossed(own, metric, "tested", "rates")


def patterns_table(metric: str = "MAE") -> Shown:
    """Tabulate models on patterns of missing steps that they were not trained on."""
    own = _evaluated("patterns", metric)
    if own.empty:
        return not_run("patterns")
    own = own[own["pattern"].isin(list(PATTERNS))]
    return _crossed(own, metric, "pattern", "patterns")


def rates_in_words(metric: str = "MAE") -> str:
    """Say at how many test rates each training is the best of its kind."""
    own = _all_trainings(metric)
    if own.empty:
        return "No run of the study `rates` is published yet."
    best, told = _best_trained(own, metric, "tested"), []
    for model in system_order(own["model"]):
        mine = best.loc[model]
        counts = ", ".join(
            f"{name} at {mine[name].sum()}"
            for name in sorted(own.loc[own["model"] == model, "trained"].unique())
        )
        told.append(f"{model}: trained at {counts} of {len(mine)}")
    words = (
        f"At how many test rates each training gives a system its best "
        f"{axis_label(metric)} ({seeds_in_words(own)}): {'; '.join(told)}."
    )
    if (best.sum(axis=1) > 1).any():
        words += (
            " Ties count for each training, so the counts of a system can add up to "
            "more than there are rates."
        )
    if own.groupby("model")["seed"].nunique().min() == 1:
        words += " One seed does not tell what another would change."
    return words


def patterns_in_words(metric: str = "MAE") -> str:
    """Say under which damage each system does worst, and that damages differ."""
    own = _evaluated("patterns", metric)
    if own.empty:
        return "No run of the study `patterns` is published yet."
    means = own.groupby(["model", "pattern"])["value"].mean().unstack()
    higher = METRICS[metric].higher_is_better
    worst = means.idxmin(axis=1) if higher else means.idxmax(axis=1)
    told = ", ".join(
        f"{model} {worst[model]} ({printed(metric, means.at[model, worst[model]])})"
        for model in system_order(means.index)
    )
    worst_word = "Lowest" if higher else "Highest"
    return (
        f"{worst_word} {axis_label(metric)} by damage, mean over "
        f"{own['trained'].nunique()} trainings ({seeds_in_words(own)}): {told}. The "
        f"kinds of damage take away different amounts, {_tested_at(own)}: this does "
        "not tell what an equal loss in each modality would cost."
    )


def _labelled(own: pd.DataFrame, across: str = "tested") -> str:
    """Label runs that are tested otherwise than trained."""
    rates = f"training at {', '.join(sorted(own['trained'].unique()))}"
    if across == "pattern":
        rates += f"; {_tested_at(own)}"
    return describe(own, rates=rates)


def _tested_at(own: pd.DataFrame) -> str:
    """Say at which missing rate each kind of damage is tested."""
    told = [
        f"{rate:.1f} ({', '.join(dict.fromkeys(part['pattern']))})"
        for rate, part in own.groupby("tested")
    ]
    return f"tested at missing rate {' and '.join(told)}"


def _best_trained(own: pd.DataFrame, metric: str, across: str) -> pd.DataFrame:
    """Tell which training does best, by model and what it is tested on.

    A column per training; ties count for both, as of one model under two names.
    """
    means = own.groupby(["model", across, "trained"])["value"].mean().unstack()
    higher = METRICS[metric].higher_is_better
    best = means.max(axis=1) if higher else means.min(axis=1)
    return means.eq(best, axis=0)


def _crossed(own: pd.DataFrame, metric: str, across: str, name: str) -> Table:
    rows = []
    columns = list(dict.fromkeys(own[across]))
    columns = sorted(columns) if across == "tested" else columns
    for model in system_order(own["model"]):
        mine = own[own["model"] == model]
        for trained, group in mine.groupby("trained"):
            row = {"System": model, "Trained at": trained}
            for column in columns:
                head = f"{column:.1f}" if across == "tested" else str(column)
                values = group.loc[group[across] == column, "value"]
                row[head] = mean_of_seeds(metric, values)
            rows.append(row)
    kept = ["run_id", "model", "trained", "seed", "tested", "pattern", "value"]
    caption = (
        f"{axis_label(metric)} on the test split by "
        f"{'test rate' if across == 'tested' else 'what is missing'}, mean ± standard "
        f"deviation over seeds. {_labelled(own, across)}"
        f"{lone_seeds(own, ['model', 'trained'])}"
    )
    return plain_table(pd.DataFrame(rows), own[kept], f"{name}-{metric}", caption)


def rates_picture(metric: str = "MAE") -> Shown:
    """Draw a metric against the test rate, a line per training rate."""
    own = _all_trainings(metric)
    if own.empty:
        return not_run("rates")
    models = system_order(own["model"])
    names = sorted(own["trained"].unique())
    with house_style():
        figure, axes = plt.subplots(
            *(1, len(models)),
            figsize=(3.0 * len(models) + 1.2, 3.8),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        at_one = [name for name in names if name not in _LOOKS]
        shades = plt.get_cmap("cividis")(np.linspace(0, 0.85, len(at_one)))
        colours = dict(zip(at_one, shades, strict=True))
        for axis, model in zip(axes.flat, models, strict=True):
            for name in names:
                line = own[(own["model"] == model) & (own["trained"] == name)]
                colour = colours.get(name, "k")
                axis.plot(line["tested"], line["value"], ".", color=colour, alpha=0.5)
                mean = line.groupby("tested")["value"].mean()
                look = _LOOKS.get(name, "-")
                axis.plot(mean.index, mean, look, color=colour, label=name)
            axis.set(title=model, xlabel="missing rate of the test")
        axes.flat[0].set_ylabel(axis_label(metric))
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, title="trained at", loc="outside right upper")
    alt = rates_in_words(metric)
    caption = (
        f"{axis_label(metric)} by the missing rate of the test, a line per training "
        f"rate (mean of seeds, dots are seeds). {_labelled(own)}"
    )
    return closed_picture(figure, f"rates-{metric}", alt, caption)
