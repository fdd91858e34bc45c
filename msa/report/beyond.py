"""What the papers do not ask: tables and figures from runs beyond their protocol.

Every function reads published results and returns a table, a picture, or a note that
says which study has not been run yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown

from msa.data.contract import MODALITIES
from msa.data.missing import PATTERNS, PROTOCOL_PATTERN
from msa.data.registry import source
from msa.report.figures import closed_picture
from msa.report.labels import (
    MISSING,
    axis_label,
    decimals_of,
    describe,
    main_runs,
    printed,
    shown,
)
from msa.report.style import Picture, house_style, system_order, system_style
from msa.report.tables import Table, no_marks
from msa.study.claims import read_claims, rules
from msa.study.grids import study
from msa.study.publish import (
    load_epochs,
    load_evaluations,
    load_reconstructions,
    load_runs,
    load_summary,
    published_ids,
)
from msa.study.selection import (
    BEST_PER_METRIC,
    RULES,
    TEST_BEST,
    VALIDATION_BEST,
    scores_by_rule,
)
from msa.study.stats import interval
from msa.train.metrics import METRICS

Shown = Table | Picture | Markdown

OWN_RATE = "its own rate"
"""What the protocol trains on: the rate of the test, one model for each."""

_LOOKS = {"mixed": "k--", OWN_RATE: "k:"}
"""Lines of trainings that are not at one rate."""


def smallest_gain(metric: str) -> tuple[float, str]:
    """Return the smallest gain in a metric that MFMB-Net's text states, as a fraction.

    Where it states none, the margin of ``claims.toml``. The second value says which.
    """
    stated = [c.stated for c in read_claims() if c.stated and metric in c.metrics]
    if stated:
        return min(stated), "the smallest gain that MFMB-Net's text states"
    return rules().margin, "the margin of our rules for claims"


def _seeds_in_words(own: pd.DataFrame) -> str:
    """Say how many seeds stand behind each system of some runs."""
    counts = own.groupby("model")["seed"].nunique()
    least, most = counts.min(), counts.max()
    told = f"{least}" if least == most else f"{least} to {most}"
    return f"{told} seed{'s' if most > 1 else ''} a system"


def progress(name: str) -> Markdown:
    """Say how much of a study is published, and the command that runs the rest."""
    configs = study(name).configs
    done = sum(config.run_id in published_ids() for config in configs)
    words = f"**{done} of {len(configs)} runs** of the study `{name}` are published."
    if done < len(configs):
        words += (
            " To run the rest:\n\n```bash\n"
            f"python -m msa study run {name}\npython -m msa study publish\n```"
        )
    return Markdown(words)


def not_run(name: str) -> Markdown:
    """Say that a study has not been run, and the commands that run it."""
    return Markdown(
        f"*Not run yet.* `python -m msa study run {name}` makes these numbers, "
        "`python -m msa study publish` brings them here."
    )


def _spread(metric: str, values: pd.Series) -> str:
    """Write the mean of seeds with their standard deviation and number."""
    values = values.dropna()
    if values.empty:
        return MISSING
    mean = printed(metric, float(values.mean()))
    if len(values) == 1:
        return f"{mean} [1 seed]"
    return (
        f"{mean} ± {printed(metric, float(values.std(ddof=1)))} [{len(values)} seeds]"
    )


def turned(one: Sequence[float], other: Sequence[float]) -> tuple[int, int]:
    """Count the pairs of systems, and those that two lists of scores order otherwise.

    Examples
    --------
    >>> turned([1, 2, 3], [1, 3, 2])
    (3, 1)
    """
    first, second = (np.asarray(scores, dtype=float) for scores in (one, other))
    signs = np.sign(np.subtract.outer(first, first))
    signs *= np.sign(np.subtract.outer(second, second))
    above = np.triu_indices(len(first), 1)
    return len(above[0]), int((signs[above] < 0).sum())


def plain_table(
    frame: pd.DataFrame, data: pd.DataFrame, name: str, caption: str
) -> Table:
    """Make a table of texts: numbers of mixed units, without marks."""
    cells = frame.map(str).reset_index(drop=True)
    return Table(name, caption, cells, no_marks(cells), data)


def _trained(runs: pd.DataFrame) -> pd.Series:
    """Name what a run was trained on: its missing rate, or mixed rates."""
    rates = runs["missing_rate"].map("{:.1f}".format)
    return rates.mask(runs["train_rates"] == "mixed", "mixed")


# --- train rate against test rate, and patterns ---------------------------------------


def _evaluated(name: str, metric: str) -> pd.DataFrame:
    """Return the further tests of a study in one metric, with their runs."""
    tests = load_evaluations(name)
    tests = tests[tests["metric"] == metric].rename(columns={"missing_rate": "tested"})
    runs = load_runs(name)
    if tests.empty or runs.empty:
        return pd.DataFrame()
    runs = runs.assign(trained=_trained(runs))
    return tests.merge(runs, on="run_id")


def _at_own_rates(own: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the protocol's runs of the same systems and seeds: one model per rate."""
    runs = load_runs("mosi-sweep")
    asked = own[["model", "variant", "seed"]].drop_duplicates()
    score = f"test_{metric}"
    if score not in runs:
        return pd.DataFrame()
    found = main_runs(runs).merge(asked, on=["model", "variant", "seed"])
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
        f"{axis_label(metric)} ({_seeds_in_words(own)}): {'; '.join(told)}."
    )
    if (best.sum(axis=1) > 1).any():
        words += (
            " Ties count for each training: at the test rate that a model was trained "
            f"at, it counts under '{OWN_RATE}' as well, so the counts of a system can "
            "add up to more than there are rates."
        )
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
        f"{own['trained'].nunique()} trainings ({_seeds_in_words(own)}): {told}. The "
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
                row[head] = _spread(metric, values)
            rows.append(row)
    kept = ["run_id", "model", "trained", "seed", "tested", "pattern", "value"]
    caption = (
        f"{axis_label(metric)} on the test split by "
        f"{'test rate' if across == 'tested' else 'what is missing'}, mean ± standard "
        f"deviation over seeds. {_labelled(own, across)}"
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
        colours = plt.get_cmap("cividis")(np.linspace(0, 0.85, len(names)))
        for axis, model in zip(axes.flat, models, strict=True):
            for name, colour in zip(names, colours, strict=True):
                line = own[(own["model"] == model) & (own["trained"] == name)]
                axis.plot(line["tested"], line["value"], ".", color=colour, alpha=0.5)
                mean = line.groupby("tested")["value"].mean()
                look = _LOOKS.get(name, "-")
                extra = {} if name in _LOOKS else {"color": colour}
                axis.plot(mean.index, mean, look, label=name, **extra)
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


# --- selection rule -------------------------------------------------------------------


def selection_table(metric: str = "Non0_acc_2") -> Shown:
    """Tabulate what each rule to choose a checkpoint makes of the same runs."""
    own = _by_rule(metric)
    if own.empty:
        return not_run("selection")
    rows = []
    for (rate, model), group in own.groupby(["missing_rate", "model"]):
        by = group.pivot(index="run_id", columns="rule", values="value")
        sign = 1 if METRICS[metric].higher_is_better else -1
        row = {"Rate": f"{rate:.1f}", "System": model}
        row |= {rule: _spread(metric, by[rule]) for rule in RULES}
        for rule in (BEST_PER_METRIC, TEST_BEST):
            gain = sign * shown(metric, float((by[rule] - by[VALIDATION_BEST]).mean()))
            row[f"{rule} buys"] = f"{gain:+z.{decimals_of(metric)}f}"
        rows.append(row)
    caption = (
        f"{axis_label(metric)} of the same runs with three rules to choose the epoch: "
        + "; ".join(f"{rule}: {what}" for rule, what in RULES.items())
        + f". Buys: gain over {VALIDATION_BEST}, positive is better. {describe(own)}"
    )
    return plain_table(pd.DataFrame(rows), own, f"selection-{metric}", caption)


def selection_in_words(metric: str = "Non0_acc_2") -> str:
    """Say what each shortcut buys on average, and how often it turns systems round."""
    own = _by_rule(metric)
    if own.empty:
        return "No run of the study `selection` is published yet."
    means = own.groupby(["missing_rate", "rule", "model"])["value"].mean().unstack()
    rates = sorted(own["missing_rate"].unique())
    wide = own.pivot(index="run_id", columns="rule", values="value")
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
        gain = float((wide[rule] - wide[VALIDATION_BEST]).mean())
        bought = f"{sign * shown(metric, gain):+z.{decimals_of(metric)}f}"
        told.append(
            f"{what} buys {bought} in {axis_label(metric)} on average and turns "
            f"{changed} of {pairs} pairs of systems round"
        )
    places = ", ".join(f"{rate:.1f}" for rate in rates)
    return (
        f"{'; '.join(told)} (missing rate {places}; {own['model'].nunique()} systems, "
        f"{_seeds_in_words(own)})."
    )


def _by_rule(metric: str) -> pd.DataFrame:
    epochs, runs = load_epochs("selection"), load_runs("selection")
    if epochs.empty or runs.empty:
        return pd.DataFrame()
    found = scores_by_rule(epochs, runs.set_index("run_id")["best_epoch"])
    return found[found["metric"] == metric].merge(runs, on="run_id")


# --- noise ----------------------------------------------------------------------------

KINDS = ("run seed", "masks", "data order")
"""What the noise study draws anew, one at a time."""


def _noise(metric: str) -> pd.DataFrame:
    runs = load_runs("noise")
    if runs.empty:
        return runs
    kinds = np.select(
        [runs["mask_seed"].notna(), runs["data_order_seed"].astype(str) != "1111"],
        KINDS[1:],
        default=KINDS[0],
    )
    return runs.assign(kind=kinds, value=runs[f"test_{metric}"])


def _draws(own: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """Return the values of every draw, by system and by kind of seed."""
    return {
        model: {
            kind: values
            for kind in KINDS
            if len(values := _values(own, model=model, kind=kind))
        }
        for model in system_order(own["model"])
    }


def _values(own: pd.DataFrame, model: str, kind: str) -> np.ndarray:
    mine = own[(own["model"] == model) & (own["kind"] == kind)]
    return mine["value"].dropna().to_numpy()


def _together(draws: Sequence[np.ndarray]) -> float:
    """Return the standard deviation of a sum whose parts vary as the draws do."""
    if min(len(values) for values in draws) < 2:
        return math.nan
    return float(np.sqrt(sum(values.var(ddof=1) for values in draws)))


def _seeds_needed(metric: str, deviation: float) -> str:
    """Return the runs each of two systems needs to tell :func:`smallest_gain`."""
    if math.isnan(deviation):
        return MISSING
    needed = 2 * (2 * deviation / smallest_gain(metric)[0]) ** 2
    return f"{math.ceil(round(needed, 6))}"


def noise_table(metric: str = "MAE") -> Shown:
    """Tabulate how much each kind of seed moves a metric, and how many runs that asks.

    The number of seeds is what two systems with independent runs need for a difference
    of :func:`smallest_gain` to reach twice its standard error.
    """
    own = _noise(metric)
    if own.empty:
        return not_run("noise")
    rows = []
    for model, by_kind in _draws(own).items():
        parts = {kind: [values] for kind, values in by_kind.items()}
        if len(parts) == len(KINDS):
            parts["all three"] = list(by_kind.values())
        for kind, draws in parts.items():
            values = np.concatenate(draws)
            alone = len(draws) == 1
            deviation = _together(draws)
            lo, hi = _spread_interval(draws)
            rows.append(
                {
                    "System": model,
                    "What is drawn anew": kind,
                    "Runs": len(values),
                    "Mean": printed(metric, float(values.mean())),
                    "Standard deviation": f"{printed(metric, deviation)} "
                    f"[{printed(metric, lo)} to {printed(metric, hi)}]",
                    "Least": printed(metric, float(values.min())) if alone else MISSING,
                    "Most": printed(metric, float(values.max())) if alone else MISSING,
                    "Seeds needed": _seeds_needed(metric, deviation),
                }
            )
    size, what = smallest_gain(metric)
    caption = (
        f"{axis_label(metric)} when one kind of seed is drawn anew and the others are "
        "fixed; all three: the variances added, as if they did not interact. Seeds "
        f"needed: runs of each of two systems until a difference of "
        f"{printed(metric, size)}, {what}, is twice its standard error. "
        f"{describe(own)}"
    )
    return plain_table(pd.DataFrame(rows), own, f"noise-{metric}", caption)


def _spread_interval(draws: Sequence[np.ndarray]) -> tuple[float, float]:
    """Bootstrap interval of :func:`_together`."""
    if min(len(values) for values in draws) < 3:
        return np.nan, np.nan
    rng = np.random.default_rng(0)
    variance = np.zeros(1000)
    for values in draws:
        drawn = values[rng.integers(len(values), size=(len(variance), len(values)))]
        variance += drawn.var(axis=1, ddof=1)
    return interval(np.sqrt(variance))


def noise_picture(metric: str = "MAE") -> Shown:
    """Draw every run of the noise study as a dot, by system and kind of seed."""
    own = _noise(metric)
    if own.empty:
        return not_run("noise")
    by_model = _draws(own)
    step = 0.8 / len(by_model)
    with house_style():
        figure, axis = plt.subplots(figsize=(8.4, 4.0), layout="constrained")
        for offset, (model, by_kind) in enumerate(by_model.items()):
            style = system_style(model)
            for kind, values in by_kind.items():
                left = KINDS.index(kind) - step * (len(by_model) - 1) / 2
                # Side by side, so that equal values do not hide each other.
                apart = step * np.linspace(-0.3, 0.3, len(values))
                axis.plot(
                    left + step * offset + apart,
                    [shown(metric, value) for value in values],
                    ls="",
                    marker=style.marker,
                    color=style.colour,
                    label=model if kind == KINDS[0] else None,
                )
        axis.set_xticks(range(len(KINDS)), [f"{k} drawn anew" for k in KINDS])
        axis.set_ylabel(axis_label(metric))
        figure.legend(loc="outside right upper")
    alt = noise_in_words(metric)
    caption = f"Every run of the noise study, {axis_label(metric)}. {describe(own)}"
    return closed_picture(figure, f"noise-{metric}", alt, caption)


def noise_in_words(metric: str = "MAE") -> str:
    """Say how much each kind of seed moves a metric, and how many seeds that asks."""
    own = _noise(metric)
    if own.empty:
        return "No run of the study `noise` is published yet."
    draws = _draws(own)
    told = []
    for kind in KINDS:
        spreads = [
            values[kind].std(ddof=1)
            for values in draws.values()
            if len(values.get(kind, ())) > 1
        ]
        if spreads:
            told.append(f"{kind} {printed(metric, float(np.mean(spreads)))}")
    size, what = smallest_gain(metric)
    words = (
        f"Standard deviation of {axis_label(metric)}, mean over {len(draws)} "
        f"system{'s' if len(draws) > 1 else ''} ({', '.join(draws)}), missing rate "
        f"{', '.join(sorted({str(rate) for rate in own['missing_rate']}))}: "
        f"{', '.join(told)}; {what} is {printed(metric, size)}."
    )
    totals = {
        model: _together(list(by_kind.values()))
        for model, by_kind in draws.items()
        if len(by_kind) == len(KINDS) and min(map(len, by_kind.values())) > 1
    }
    if totals:
        least, most = min(totals, key=totals.get), max(totals, key=totals.get)
        words += (
            " To tell two systems that far apart, if the three kinds add up, each "
            f"needs {_seeds_needed(metric, totals[least])} seeds where runs differ as "
            f"{least}'s do, and {_seeds_needed(metric, totals[most])} where they "
            f"differ as {most}'s do."
        )
    return words + _collapsed(own)


def _collapsed(own: pd.DataFrame) -> str:
    """Say which runs ended in one answer for all clips: their Corr is not defined."""
    same = own[own["test_Corr"].isna()]
    if same.empty:
        return ""
    counts = same["model"].value_counts()
    told = ", ".join(
        f"{counts[model]} of {(own['model'] == model).sum()} runs of {model}"
        for model in system_order(same["model"])
    )
    return f" One answer for all clips: {told}."


# --- reconstruction -------------------------------------------------------------------


def reconstruction_table() -> Shown:
    """Tabulate reconstruction errors beside imputations, by rate and modality."""
    own = _rebuilt()
    if own.empty:
        return not_run("reconstruction")
    errors = own[own["metric"] == "rmse"]
    rows = []
    for (model, modality, rate), group in errors.groupby(
        ["model", "modality", "tested"], sort=False
    ):
        by = group.groupby("method")["value"].mean()
        n = group["run_id"].nunique()
        methods = {
            m: f"{by[m]:.3f}" for m in ("model", "zero", "mean", "last", "input")
        }
        row = {"System": model, "Modality": modality, "Rate": f"{rate:.1f}"}
        rows.append({**row, **methods, "Seeds": n})
    frame = pd.DataFrame(rows).sort_values(["System", "Modality", "Rate"])
    caption = (
        "Root mean squared error on the missing steps of the test split, in units of "
        "each feature's spread on the training split: the reconstruction "
        "(model), zeros, the training mean, the last value before, and what the model "
        f"is given instead (input), means over seeds. {describe(own)}"
    )
    return plain_table(frame, errors, "reconstruction", caption)


def reconstruction_picture() -> Shown:
    """Draw reconstruction errors and imputations against the missing rate."""
    own = _rebuilt()
    if own.empty:
        return not_run("reconstruction")
    errors = own[own["metric"] == "rmse"]
    looks = {"mean": ("#6E6E6E", ":"), "last": ("#B07D00", "--")}
    with house_style():
        figure, axes = plt.subplots(
            1, len(MODALITIES), figsize=(11.0, 3.8), layout="constrained"
        )
        for axis, modality in zip(axes, MODALITIES, strict=True):
            part = errors[errors["modality"] == modality]
            for model in system_order(part["model"]):
                line = part[(part["model"] == model) & (part["method"] == "model")]
                style = system_style(model)
                axis.plot(line["tested"], line["value"], ".", color=style.colour)
                mean = line.groupby("tested")["value"].mean()
                look = {"color": style.colour, "marker": style.marker, "label": model}
                axis.plot(mean.index, mean, **look)
            for method, (colour, dash) in looks.items():
                mean = part[part["method"] == method].groupby("tested")["value"].mean()
                axis.plot(mean.index, mean, dash, color=colour, label=f"{method} value")
            axis.set(title=modality, xlabel="missing rate", ylim=(0, None))
        axes[0].set_ylabel("error (spreads of the feature)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper")
    caption = (
        "Error of the reconstructed features on missing test steps (lines: means over "
        f"seeds, dots: seeds) beside two imputations. {describe(own)}"
    )
    alt = reconstruction_in_words()
    return closed_picture(figure, "reconstruction", alt, caption)


def reconstruction_in_words() -> str:
    """Count where reconstructions beat every imputation, and what errors predict."""
    own = _rebuilt()
    if own.empty:
        return "No run of the study `reconstruction` is published yet."
    errors = own[own["metric"] == "rmse"]
    keys = ["model", "modality", "tested"]
    means = errors.groupby([*keys, "method"])["value"].mean().unstack()
    guess = means[["zero", "mean", "last"]].min(axis=1)
    better = means["model"] < guess
    gain = 100 * (1 - means["model"] / guess)
    told = "; ".join(
        f"{model} in {part.sum()} of {len(part)} cells, at missing "
        f"{_rates_in_words(part.index.get_level_values('tested'))}"
        for model, part in better.groupby("model")
    )
    link = own[(own["metric"] == "spearman") & (own["modality"] == "all")]["value"]
    return (
        f"Reconstruction beats zeros, mean and last value ({_seeds_in_words(own)}; a "
        f"cell is a rate and a modality): {told}. Its error is below "
        f"that of the best of these guesses by {gain.median():.1f} % (median; from "
        f"{gain.min():.1f} to {gain.max():.1f} %). It goes with the "
        f"error of the prediction by a Spearman correlation of {link.mean():.2f} (from "
        f"{link.min():.2f} to {link.max():.2f} over runs)."
    )


def _rates_in_words(rates: Sequence[float]) -> str:
    found = sorted(set(rates))
    told = ", ".join(f"{rate:.1f}" for rate in found)
    return f"rate{'s' if len(found) > 1 else ''} {told}"


def _rebuilt() -> pd.DataFrame:
    rows, runs = load_reconstructions("reconstruction"), load_runs("reconstruction")
    if rows.empty or runs.empty:
        return pd.DataFrame()
    rows = rows.rename(columns={"missing_rate": "tested"})
    return rows.merge(runs, on="run_id")


# --- frozen against fine-tuned --------------------------------------------------------


def encoders_table(dataset: str, view: str, metric: str = "MAE") -> Shown:
    """Put systems with a frozen text encoder beside the same with a trained one."""
    both = _encoders(dataset, view, metric)
    if both.empty:
        return not_run("finetuned")
    frame = pd.DataFrame(
        {
            "Rate": both["missing_rate"].map("{:.1f}".format),
            "System": both["model"],
            "Frozen": [printed(metric, v) for v in both["mean_frozen"]],
            "Fine-tuned": [printed(metric, v) for v in both["mean"]],
            "Gain": [
                f"{shown(metric, gain):+z.{decimals_of(metric)}f}"
                for gain in both["gain"]
            ],
            "Seeds": [
                f"{a:.0f} and {b:.0f}"
                for a, b in zip(both["n_frozen"], both["n"], strict=True)
            ],
        }
    )
    runs = main_runs(load_runs())
    runs = runs[(runs["dataset"] == dataset) & (runs["view"] == view)]
    caption = (
        f"{axis_label(metric)} with a frozen and with a fine-tuned text encoder, means "
        f"over seeds; gain of fine-tuning, positive is better. {describe(runs)}"
    )
    return plain_table(frame, both, f"encoders-{dataset}-{metric}", caption)


def encoders_in_words(dataset: str, view: str, metric: str = "MAE") -> str:
    """Say how often fine-tuning the encoder helps, and how much."""
    both, title = _encoders(dataset, view, metric), source(dataset, view).title
    if both.empty:
        return f"{title} has no runs with a fine-tuned encoder yet."
    gains = both["gain"].map(lambda gain: shown(metric, gain))
    places = decimals_of(metric)
    return (
        f"{title}: fine-tuning is better in {(gains > 0).sum()} of {len(gains)} cells "
        f"of {axis_label(metric)}, by {gains.mean():+z.{places}f} on average (from "
        f"{gains.min():+z.{places}f} to {gains.max():+z.{places}f})."
    )


def _encoders(dataset: str, view: str, metric: str) -> pd.DataFrame:
    """Return cells that were run both ways, with the gain of fine-tuning."""
    own = main_runs(load_summary())
    own = own[(own["dataset"] == dataset) & (own["view"] == view)]
    own = own[own["metric"] == metric]
    frozen = own[own["encoder_mode"] == "frozen"]
    trained = own[own["encoder_mode"] == "finetune"]
    keys = ["missing_rate", "model", "variant", "encoder"]
    both = trained.merge(frozen, on=keys, suffixes=("", "_frozen"))
    sign = 1 if METRICS[metric].higher_is_better else -1
    order = {model: i for i, model in enumerate(system_order(both["model"]))}
    both = both.assign(
        gain=sign * (both["mean"] - both["mean_frozen"]),
        order=both["model"].map(order),
    )
    return both.sort_values(["missing_rate", "order"]).reset_index(drop=True)
