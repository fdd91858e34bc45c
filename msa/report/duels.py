"""Two systems head to head, and two definitions of F1, from published results."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown

from msa.data.registry import source
from msa.report.beyond import (
    Shown,
    gain_with_interval,
    in_usual_order,
    not_run,
    not_run_here,
    plain_table,
    turned_in,
)
from msa.report.figures import closed_picture
from msa.report.labels import (
    ENCODER_WORDS,
    MISSING,
    NoResults,
    axis_label,
    describe,
    fewest_to_most,
    printed,
    seeds_told,
    shown,
    system_name,
)
from msa.report.style import Picture, house_style, system_order, system_style
from msa.report.untrained import main_of, untrained
from msa.study.claims import rules
from msa.study.grids import BASELINES, CORNERS, REBUILDERS, comparison_of
from msa.study.layout import matching
from msa.study.pairs import PAIRS, load_pairs
from msa.study.results import load_runs, load_summary
from msa.study.stats import holm, side_of_zero
from msa.train.metrics import METRICS

FEW = rules().seeds
"""Seeds below which nothing is said of other seeds."""

_P_VALUES = ("p, seeds and clips", "p, seeds")
_CORRECTED = ("p_holm", "p_seeds_holm")

LINEAR = "text-linear"
"""The reference that a network has to beat."""

BETTER_OR_WORSE = (
    "Better or worse: the 95 % interval of the gain, paired over seeds and test clips, "
    "lies on that side of 0, by more than another draw of the resamples moves it, at "
    "each rate on its own and not corrected for their number; with one seed it knows "
    "nothing of others."
)
"""What :func:`against_linear` means by it."""


_RATE = r"[\d.]+"

# --- head to head ---------------------------------------------------------------------


def duel_table(
    first: str, second: str, dataset: str, view: str, encoder_mode: str = "frozen"
) -> Shown:
    """Tabulate one system against another at every missing rate.

    Parameters
    ----------
    first, second : str
        A pair of :data:`msa.study.pairs.PAIRS`.
    dataset, view : str
    encoder_mode : {"frozen", "finetune"}
        What both do with their text encoder.
    """
    own = _duel(first, second, dataset, view, encoder_mode)
    if own.empty:
        return not_run(comparison_of(dataset, view, encoder_mode))
    metrics = ["MAE", "Corr", "Mult_acc_5"]
    own, rows = _with_corrected(own), []
    for at, group in own.groupby("at", sort=False):
        by = group.set_index("metric")
        row = {"At": _place(at)}
        for metric in metrics:
            row[METRICS[metric].name] = gain_with_interval(metric, by.loc[metric])
        mae = by.loc["MAE"]
        for name, corrected in zip(_P_VALUES, _CORRECTED, strict=True):
            p = mae[corrected]
            row[name] = MISSING if np.isnan(p) else f"{p:.3f}"
        share = (
            f"{mae['better']:.0%} [{mae['better_lo']:.0%} to {mae['better_hi']:.0%}]"
        )
        row[f"{first} better (MAE)"] = share if mae["n"] >= FEW else MISSING
        row["Seeds"] = str(int(mae["n"]))
        rows.append(row)
    caption = (
        f"{first} against {second} on {source(dataset, view).title}: gain of the first "
        "with its 95 % interval, paired over seeds and test clips, positive if the "
        f"first is better (for MAE too). p (MAE): two-sided, with {FEW} seeds or more; "
        "of the same bootstrap over seeds and clips, and of a paired t-test over seeds "
        "alone, each corrected for the number of rows by Holm's method. Better: share "
        "of pairs of runs that the first wins, with its interval, with "
        f"{FEW} seeds or more. {_behind(first, second, dataset, view, encoder_mode)}"
    )
    way = "" if encoder_mode == "frozen" else f"-{encoder_mode}"
    name = f"duel-{dataset}-{first}-{second}{way}".lower()
    return plain_table(pd.DataFrame(rows), own, name, caption)


def against_linear_tables(dataset: str, view: str) -> list[Shown]:
    """Tabulate every system that meets the linear reader of text, as a duel each."""
    return [
        duel_table(first, second, dataset, view)
        for first, second in PAIRS
        if second == LINEAR
    ]


def _with_corrected(own: pd.DataFrame) -> pd.DataFrame:
    """Add the p-values of MAE, each kind corrected for the number of places."""
    own = own.copy()
    counts = (own["metric"] == "MAE") & (own["n"] >= FEW)
    for kind, corrected in zip(("p", "p_seeds"), _CORRECTED, strict=True):
        own[corrected] = np.nan
        own.loc[counts, corrected] = holm(own.loc[counts, kind])
    return own


def _place(at: str) -> str:
    """Say in words where two systems are compared, as ``pairs.csv`` names it."""
    kind, *rates = at.split()
    if kind == "drop":
        return f"loss from rate {rates[0]} to {rates[1]}"
    return at if kind == "AUILC" else f"rate {at}"


def duel_picture(first: str, second: str, dataset: str, view: str) -> Picture | None:
    """Draw the gain of one system over another by missing rate; None without runs."""
    own = _duel(first, second, dataset, view)
    own = own[own["at"].str.fullmatch(_RATE)]
    if own.empty:
        return None  # the table says what to run
    own = own.assign(rate=own["at"].astype(float))
    metrics = ["MAE", "Corr", "Mult_acc_5"]
    with house_style():
        figure, axes = plt.subplots(1, 3, figsize=(11.0, 3.4), layout="constrained")
        for axis, metric in zip(axes, metrics, strict=True):
            line = own[own["metric"] == metric]
            values = line[["gain", "lo", "hi"]].map(lambda v, m=metric: shown(m, v))
            axis.axhline(0, color="#444", lw=1)
            below = (values["gain"] - values["lo"]).clip(lower=0)
            above = (values["hi"] - values["gain"]).clip(lower=0)
            colour = system_style(first).colour
            axis.errorbar(
                *(line["rate"], values["gain"], np.array([below, above])),
                fmt="o",
                color=colour,
                capsize=3,
            )
            axis.set(xlabel="missing rate", xlim=(-0.05, 1.05))
            axis.set_ylabel(f"gain in {axis_label(metric)}")
        figure.suptitle(
            f"{first} better above the line, {second} below", x=0.01, ha="left"
        )
    seeds = fewest_to_most(own["n"])
    caption = (
        f"Gain of {first} over {second} on {source(dataset, view).title}, with 95 % "
        f"intervals over seeds ({seeds} a rate) and test clips. "
        f"{_behind(first, second, dataset, view)}"
    )
    alt = duel_in_words(first, second, dataset, view)
    return closed_picture(
        figure, f"duel-{dataset}-{first}-{second}".lower(), alt, caption
    )


def duel_in_words(
    first: str, second: str, dataset: str, view: str, encoder_mode: str = "frozen"
) -> str:
    """Count the missing rates at which one system is better in MAE, and how surely.

    Parameters are those of :func:`duel_table`.
    """
    own = _with_corrected(_duel(first, second, dataset, view, encoder_mode))
    own = own[(own["metric"] == "MAE") & own["at"].str.fullmatch(_RATE)]
    title = source(dataset, view).title
    if encoder_mode != "frozen":
        title = f"{title}, text encoder {ENCODER_WORDS[encoder_mode]}"
    if own.empty:
        return f"{first} and {second} have not met on {title} yet."
    won, lost = own["gain"] > 0, own["gain"] < 0
    means = (
        f"On average over seeds {first} has the lower error at {won.sum()} of "
        f"{_counted(own)}, {second} at {lost.sum()}."
    )
    enough = own[own["n"] >= FEW]
    if enough.empty:
        return (
            f"{title}, MAE: no rate has {FEW} seeds yet, so no interval is counted. "
            f"{means}"
        )
    least = [f"{enough[kind].min():.3f}" for kind in _CORRECTED]
    return (
        f"{title}, MAE: of {_counted(enough)} with {FEW} seeds or more the "
        f"interval lies on one side of 0 at {(enough['lo'] > 0).sum()} for {first} "
        f"and at {(enough['hi'] < 0).sum()} for {second}, each rate on its own; "
        f"the smallest corrected p-value is {least[0]} over seeds and clips, "
        f"{least[1]} over seeds alone. {means}"
    )


def _counted(places: pd.DataFrame) -> str:
    """Say how many missing rates there are."""
    return f"{len(places)} missing rate{'s' if len(places) > 1 else ''}"


def unfitted(systems: Sequence[str], dataset: str, view: str) -> Markdown | None:
    """Name the runs of a duel that fit nothing, and what it means.

    Parameters and result are those of :func:`untrained`.
    """
    return untrained(
        systems,
        dataset,
        view,
        "Where the other system does fit that split, training failed here, and the "
        "gain says little of what the system could learn.",
    )


def against_linear(
    dataset: str,
    view: str,
    metric: str,
    systems: Sequence[str] | None = None,
    *,
    explained: bool = True,
) -> str:
    """Say at which rates systems are better or worse than the linear reader of text.

    Parameters
    ----------
    dataset, view : str
    metric : str
        Metric key.
    systems : sequence of str, optional
        All that were compared when left out.
    explained : bool
        Whether to add :data:`BETTER_OR_WORSE`.
    """
    pairs = load_pairs()
    own = pairs[
        (pairs["dataset"] == dataset)
        & (pairs["view"] == view)
        & (pairs["metric"] == metric)
        & (pairs["second"] == LINEAR)
        & (pairs["encoder_mode"] == "frozen")
        & pairs["at"].str.fullmatch(_RATE)
    ].dropna(subset="gain")
    if systems is not None:
        own = own[own["first"].isin(systems)]
    title = source(dataset, view).title
    if own.empty:
        return f"{title}: nothing is compared with {LINEAR} yet."
    told = [
        f"{first} {_sides(line)}"
        for first in system_order(own["first"])
        for line in [own[own["first"] == first]]
    ]
    words = (
        f"{title}, {METRICS[metric].name} against {LINEAR}, default text encoder, "
        f"frozen: {'; '.join(told)}."
    )
    return f"{words} {BETTER_OR_WORSE}" if explained else words


def _sides(line: pd.DataFrame) -> str:
    """Say at which missing rates one system's interval is on either side of 0."""
    side = side_of_zero(line["lo"], line["hi"])
    better, worse = line.loc[side > 0, "at"], line.loc[side < 0, "at"]
    return (
        f"better at {_rates(better)}, worse at {_rates(worse)} of {len(line)} missing "
        f"rate{'s' if len(line) > 1 else ''} ({seeds_told(line['n'])} a rate)"
    )


def _rates(at: pd.Series) -> str:
    return f"{len(at)} ({', '.join(at)})" if len(at) else "0"


def _behind(
    first: str, second: str, dataset: str, view: str, encoder_mode: str = "frozen"
) -> str:
    """Describe the runs of two systems at the missing rates and seeds of both."""
    runs = main_of(load_runs(), dataset, view, encoder_mode)
    runs = runs[runs["model"].isin([first, second])]
    met = runs.groupby(["missing_rate", "seed"])["model"].transform("nunique") == 2
    return describe(runs[met])


def _duel(
    first: str, second: str, dataset: str, view: str, encoder_mode: str = "frozen"
) -> pd.DataFrame:
    if (first, second) not in PAIRS:
        there = "; ".join(f"{one} and {other}" for one, other in PAIRS)
        raise NoResults(
            f"{first!r} and {second!r} are no pair of this study, in this order; its "
            f"pairs are {there}"
        )
    keys = {"first": first, "second": second, "dataset": dataset, "view": view}
    keys["encoder_mode"] = encoder_mode
    return matching(load_pairs(), keys).reset_index(drop=True)


# --- two definitions of F1 ------------------------------------------------------------


def f1_table(dataset: str, view: str) -> Shown:
    """Put the correct and the swapped F1 of every system side by side."""
    wide = _f1(dataset, view)
    if wide.empty:
        return not_run(comparison_of(dataset, view))
    correct, swapped, accuracy = _f1_keys(dataset, view)
    own = wide[wide["missing_rate"].isin(CORNERS)]
    places = own.groupby("missing_rate")[[correct, swapped]].rank(ascending=False)
    frame = pd.DataFrame(
        {
            "Rate": own["missing_rate"].map("{:.1f}".format),
            "System": [
                system_name(*pair)
                for pair in zip(own["model"], own["variant"], strict=True)
            ],
            METRICS[accuracy].name: [printed(accuracy, v) for v in own[accuracy]],
            "F1, correct": [printed(correct, v) for v in own[correct]],
            "F1, swapped": [printed(swapped, v) for v in own[swapped]],
            "Swapped minus correct": [
                f"{100 * d:+z.2f}" for d in (own[swapped] - own[correct]).round(4)
            ],
            "Place, correct": places[correct].map("{:g}".format),
            "Place, swapped": places[swapped].map("{:g}".format),
            "Seeds": own["n"].astype(int).map(str),
        }
    )
    runs = main_of(load_runs(), dataset, view)
    runs = runs[runs["missing_rate"].isin(CORNERS)]
    caption = (
        "Weighted F1 of the same predictions with the weights of the true classes "
        "(correct) and of the predicted ones (swapped), in percent: means over as many "
        "seeds as the last column says, without intervals. "
        f"{describe(runs)}{not_run_here((*BASELINES, *REBUILDERS), wide)}"
    )
    return plain_table(frame, own, f"f1-{dataset}", caption)


def f1_picture(dataset: str, view: str) -> Picture | None:
    """Draw what the swapped weights add, by rate and system; None without runs."""
    wide = _f1(dataset, view)
    if wide.empty:
        return None  # the table says what to run
    correct, swapped, _ = _f1_keys(dataset, view)
    with house_style():
        figure, axis = plt.subplots(figsize=(8.4, 4.4), layout="constrained")
        for model in system_order(wide["model"]):
            line = wide[wide["model"] == model].sort_values("missing_rate")
            style = system_style(model)
            axis.plot(
                line["missing_rate"],
                100 * (line[swapped] - line[correct]),
                color=style.colour,
                marker=style.marker,
                ls=style.line,
                label=model,
            )
        axis.set(xlabel="missing rate", ylabel="swapped minus correct F1 (points)")
        axis.set_title(f"{source(dataset, view).title}, {view}")
        figure.legend(loc="outside right upper")
    caption = (
        "What swapped class weights add to F1, means over "
        f"{seeds_told(wide['n'])}. "
        f"{describe(main_of(load_runs(), dataset, view))}"
    )
    return closed_picture(figure, f"f1-{dataset}", f1_in_words(dataset, view), caption)


def f1_in_words(dataset: str, view: str) -> str:
    """Say how much swapped weights add, and how often they turn two systems round."""
    wide = _f1(dataset, view)
    title = source(dataset, view).title
    if wide.empty:
        return f"{title} has no runs yet."
    correct, swapped, _ = _f1_keys(dataset, view)
    excess = 100 * (wide[swapped] - wide[correct])
    pairs, changed = _turned_by_rate(wide, correct, swapped)
    trained = wide[wide["model"].isin([*BASELINES, *REBUILDERS])]
    among = _turned_by_rate(trained, correct, swapped)
    top = wide.loc[excess.idxmax()]
    return (
        f"{title}: swapped weights add {excess.min():+z.2f} to {excess.max():+z.2f} "
        f"points of F1 (most for {top['model']} at missing rate "
        f"{top['missing_rate']:.1f}) and turn {changed} of {pairs} pairs of systems "
        f"round, {among[1]} of {among[0]} among the systems of the papers' tables; "
        f"{seeds_told(wide['n'])} a cell."
        f"{not_run_here((*BASELINES, *REBUILDERS), wide)}"
    )


def _turned_by_rate(wide: pd.DataFrame, one: str, other: str) -> tuple[int, int]:
    """Count pairs of systems at each rate, and those that two metrics turn round."""
    groups = wide.groupby("missing_rate")
    return turned_in((own[one], own[other]) for _, own in groups)


def _f1_keys(dataset: str, view: str) -> tuple[str, str, str]:
    sims = source(dataset, view).scale == "sims"
    correct = "F1_score" if sims else "Non0_F1"
    return correct, f"{correct}_swapped", "Mult_acc_2" if sims else "Non0_acc_2"


def _f1(dataset: str, view: str) -> pd.DataFrame:
    """Return one row per system and rate, with its metrics as columns."""
    own = main_of(load_summary(), dataset, view)
    if own.empty:
        return own
    own = own.sort_values("missing_rate")
    keys = ["missing_rate", "model", "variant", "n"]
    wide = own.pivot(index=keys, columns="metric", values="mean").reset_index()
    return in_usual_order(wide, "missing_rate")
