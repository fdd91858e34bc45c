"""How much each kind of seed moves scores, and how many tell two systems apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from msa.data.registry import source
from msa.report.beyond import Shown, not_run, not_run_here, plain_table
from msa.report.figures import closed_picture
from msa.report.labels import MISSING, NoResults, axis_label, describe, printed, shown
from msa.report.style import house_style, system_order, system_style
from msa.study.claims import Place, claim, read_claims, rules
from msa.study.grids import NOISE_RATE, SEEDS, study
from msa.study.printed import printed_gains
from msa.study.results import load_runs
from msa.study.stats import LEVEL
from msa.train.metrics import METRICS

POWER = 0.8
"""Probability with which a difference should be found."""

KINDS = ("run seed", "masks", "data order")
"""What the noise study draws anew, one at a time."""


def smallest_gain(metric: str) -> tuple[float, str]:
    """Return a gain in a metric that the papers claim, as scores are, and which it is.

    The smallest that MFMB-Net's text states; where it states none, what MIT-FRNet is
    printed to be ahead of the best system beside it, at the rate of the noise study; if
    it is not ahead, the margin of ``claims.toml``.
    """
    claims = [c for c in read_claims() if c.stated and metric in c.metrics]
    if claims:
        least = min(claims, key=lambda claim: claim.stated)
        titles = " and ".join(source(name).title for name in least.datasets)
        return least.stated, (
            f"the smallest gain in {METRICS[metric].name} that MFMB-Net's text states "
            f"(on {titles})"
        )
    place = Place("mosi", metric, NOISE_RATE)
    (ahead,) = printed_gains(claim("mit-mosi-best"), place)
    if ahead > 0:
        return ahead, (
            f"what MIT-FRNet's Table 4 prints it to be ahead in {METRICS[metric].name} "
            f"on CMU-MOSI at missing rate {NOISE_RATE}"
        )
    return rules().margin, "the margin of our rules for claims"


def _noise(metric: str) -> pd.DataFrame:
    runs = load_runs("noise")
    if runs.empty:
        return runs
    masks, order = runs["mask_seed"].notna(), runs["data_order_seed"] != SEEDS[0]
    kinds = np.select([masks, order.to_numpy(bool)], KINDS[1:], default=KINDS[0])
    scores = runs.filter(regex="^test_").dropna(axis=1, how="all")
    if f"test_{metric}" not in scores:
        there = ", ".join(name.removeprefix("test_") for name in scores)
        raise NoResults(f"no published result has metric {metric!r}; there is {there}")
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


def runs_needed(effect: float) -> int:
    """Return the runs of each of two systems that find a gain with :data:`POWER`.

    By a two-sided t-test at the level of the intervals: how much runs vary is not known
    beforehand, and the runs themselves have to tell.

    Parameters
    ----------
    effect : float
        The gain, in standard deviations of a run.

    Examples
    --------
    >>> [runs_needed(effect) for effect in (0.5, 0.8, 1.0)]
    [64, 26, 17]
    """
    from scipy.stats import nct, norm, t  # here: it loads slowly

    effect = min(effect, 20.0)  # found by two runs each, as any larger one
    both = norm.ppf((1 + LEVEL) / 2) + norm.ppf(POWER)
    runs = max(2, math.ceil(2 * (both / effect) ** 2))  # enough if it were known
    while True:
        freedom = 2 * (runs - 1)
        limit = t.ppf((1 + LEVEL) / 2, freedom)
        if nct.sf(limit, freedom, effect * math.sqrt(runs / 2)) >= POWER:
            return runs
        runs += 1


def _seeds_needed(metric: str, deviation: float) -> str:
    """Return the runs of each of two systems that find :func:`smallest_gain`."""
    if math.isnan(deviation):
        return MISSING
    gain = smallest_gain(metric)[0]
    return str(runs_needed(gain / deviation if deviation else math.inf))


def table(metric: str = "MAE") -> Shown:
    """Tabulate how much each kind of seed moves a metric, and how many runs that asks.

    The number of seeds is what two systems with independent runs need for a difference
    of :func:`smallest_gain` to be found (:func:`runs_needed`).
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
        "fixed; all three: the variances added, as if they did not interact. Brackets: "
        "95 % intervals of the standard deviation, as for normal draws (chi-squared; "
        "all three: Satterthwaite). Seeds needed: runs of each of two systems to find "
        f"a difference of {printed(metric, size)}, {what}, with a probability of "
        f"{POWER:.0%} (two-sided t-test at {1 - LEVEL:.0%}, normal runs, the same test "
        "clips). "
        f"{describe(own)}"
    )
    return plain_table(pd.DataFrame(rows), own, f"noise-{metric}", caption)


def _spread_interval(draws: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the interval of :func:`_together`, for draws from normal distributions.

    Chi-squared, with the degrees of freedom of Satterthwaite for a sum of variances. A
    percentile bootstrap of so few values is too narrow and lies too low.
    """
    from scipy.stats import chi2  # here: it loads slowly

    if min(len(values) for values in draws) < 3:
        return np.nan, np.nan
    variances = np.array([values.var(ddof=1) for values in draws])
    freedom = np.array([len(values) - 1 for values in draws])
    if not variances.any():
        return 0.0, 0.0
    together = variances.sum() ** 2 / (variances**2 / freedom).sum()
    ends = chi2.ppf([(1 + LEVEL) / 2, (1 - LEVEL) / 2], together)
    lo, hi = np.sqrt(variances.sum() * together / ends)
    return float(lo), float(hi)


def picture(metric: str = "MAE") -> Shown:
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
    alt = in_words(metric)
    caption = f"Every run of the noise study, {axis_label(metric)}. {describe(own)}"
    return closed_picture(figure, f"noise-{metric}", alt, caption)


def in_words(metric: str = "MAE") -> str:
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
            told.append(f"{kind} {printed(metric, float(np.median(spreads)))}")
    size, what = smallest_gain(metric)
    words = (
        f"Standard deviation of {axis_label(metric)}, median over {len(draws)} "
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
            f" To find such a difference with a probability of {POWER:.0%}, if the "
            "three kinds add up, each of two systems "
            f"needs {_seeds_needed(metric, totals[least])} seeds where runs differ as "
            f"{least}'s do, and {_seeds_needed(metric, totals[most])} where they "
            f"differ as {most}'s do."
        )
    asked = [config.model for config in study("noise").configs]
    return words + _collapsed(own) + not_run_here(asked, own)


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
    return (
        f" One answer for all clips: {told}. They widen the spread, and what the "
        "t-test takes for granted does not hold for such runs."
    )
