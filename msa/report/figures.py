"""Figures of the book, drawn from published results.

Every function takes tidy frames and returns a :class:`~msa.report.style.Picture`, whose
caption names data set, feature view, encoder, rates and seeds, and whose alternative
text says what there is to see, computed from the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, MultipleLocator

from msa.data.contract import MODALITIES, SPLITS
from msa.data.missing import SEEDS
from msa.data.passport import mask_picture
from msa.report.labels import (
    axis_label,
    best_and_worst,
    describe,
    main_runs,
    select,
    short_label,
    shown,
    system_name,
    systems_of,
)
from msa.report.style import (
    MODALITY_COLOURS,
    SPLIT_COLOURS,
    Picture,
    house_style,
    system_style,
)
from msa.study.grids import SYSTEMS
from msa.study.results import load_runs, load_summary
from msa.train.metrics import METRICS

TERM_NAMES = {
    "total": "total (weighted sum)",
    "task": "task: MAE (label units)",
}
"""Titles of loss terms whose own name says too little."""

OWN_TERM_NAMES = {("MISA", "task"): "task: squared error"}
"""Titles of terms that mean something else in one model, by model and term."""

LABEL_STEP = 0.2
"""Width of a bar in histograms of labels: CH-SIMS labels are multiples of it."""


def rate_curves(
    summary: pd.DataFrame, runs: pd.DataFrame, metrics: Sequence[str], name: str
) -> Picture:
    """Draw metrics against the missing rate, one panel per metric.

    Parameters
    ----------
    summary : DataFrame
        One row per system, rate and metric: ``model, variant, missing_rate, metric,
        mean, lo, hi``, of one data set, view and encoder.
    runs : DataFrame
        The runs behind it, test metrics in columns ``test_<metric>``.
    metrics : sequence of str
        Metric keys, one panel each.
    name : str
        Stem of the file names.

    Returns
    -------
    Picture
        Lines are means over seeds, bands the intervals, dots single seeds. A system
        whose metric is not defined has no line in that panel.

    Raises
    ------
    NoResults
        If there is nothing of these metrics.
    """
    select(summary, metric=list(metrics))
    systems = systems_of(summary)
    columns = min(len(metrics), 2)
    rows = -(-len(metrics) // columns)  # rounded up
    with house_style():
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(8.4, 4.8 if len(metrics) == 1 else 3.2 * rows + 0.6),
            squeeze=False,
            layout="constrained",
        )
        for axis, metric in zip(axes.flat, metrics, strict=False):
            for system in systems:
                _rate_line(axis, summary, runs, metric, system)
            better = "higher" if METRICS[metric].higher_is_better else "lower"
            axis.set(xlabel="missing rate", ylabel=axis_label(metric))
            axis.set_title(f"{METRICS[metric].name}: {better} is better")
            axis.xaxis.set_major_locator(MultipleLocator(0.1 if columns == 1 else 0.2))
        for axis in axes.flat[len(metrics) :]:
            axis.set_axis_off()
        _legend_outside(figure, axes, short_label(runs))
        caption = (
            "Test scores by missing rate: means over seeds (lines), single seeds "
            "(dots) and 95 % bootstrap intervals over seeds and clips (bands; where "
            f"there is one seed, over clips alone). {describe(runs)}"
        )
        alt = " ".join(best_and_worst(summary, metric) for metric in metrics)
        return closed_picture(figure, name, alt, caption)


def front_picture() -> Picture:
    """Draw the picture of the first page and of the README: MAE on CMU-MOSI.

    The systems of the study ``mosi-sweep``: more lines than that cannot be told apart.
    """
    where = {
        "dataset": "mosi",
        "view": "clip-context",
        "encoder": "minilm",
        "encoder_mode": "frozen",
    }
    summary, runs = (
        select(frame[frame["model"].isin(SYSTEMS)], **where)
        for frame in (main_runs(load_summary()), main_runs(load_runs()))
    )
    return rate_curves(summary, runs, ["MAE"], "mosi-sweep")


def convergence(curves: pd.DataFrame, runs: pd.DataFrame, name: str) -> Picture:
    """Draw every loss term against the epoch, train beside valid.

    Parameters
    ----------
    curves : DataFrame
        Rows ``run_id, epoch, split, term, value``; terms unweighted, ``total`` their
        weighted sum.
    runs : DataFrame
        The runs to draw: ``run_id, model, variant, seed, best_epoch`` and what the
        caption needs. Runs without curves (closed-form references) are passed over.
    name : str
        Stem of the file names.

    Returns
    -------
    Picture
        A row of panels per system, a panel per loss term, a line per seed and split; a
        dotted vertical line marks the epoch whose weights were tested.

    Raises
    ------
    ValueError
        If none of the runs has curves.
    """
    curves = curves.merge(runs[["run_id", "model", "variant", "seed", "best_epoch"]])
    if curves.empty:
        raise ValueError("none of these runs has loss curves: nothing was trained")
    runs = runs[runs["run_id"].isin(curves["run_id"])]
    systems = systems_of(curves)
    panels = [
        (system, term)
        for term in sorted(curves["term"].unique(), key=_term_order)
        for system in systems
    ]
    # Several systems side by side share a row per term; one alone fills rows of three.
    columns = len(systems) if len(systems) > 1 else min(3, len(panels))
    rows = -(-len(panels) // columns)  # rounded up
    with house_style():
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(max(3.0 * columns, 6.0), 2.4 * rows + 0.7),
            squeeze=False,
            layout="constrained",
        )
        for axis, (system, term) in zip(axes.flat, panels, strict=False):
            own = curves[_is(curves, system) & (curves["term"] == term)]
            if not own.empty:
                title = f"{system_name(*system)}\n{_term_name(system[0], term)}"
                _loss_panel(axis, own, title)
        for axis in axes.flat:
            axis.axison = axis.has_data()
        _legend_outside(figure, axes, short_label(runs))
        caption = (
            "Loss by epoch, unweighted terms and their weighted total; a line per "
            "seed, a dotted line at the epoch whose weights are tested (lowest "
            f"validation task loss). {describe(runs)}"
        )
        alt = "Loss curves by epoch. " + " ".join(
            _convergence_in_words(curves[_is(curves, s)], system_name(*s))
            for s in systems
        )
        return closed_picture(figure, name, alt, caption)


def _rate_line(
    axis: Axes,
    summary: pd.DataFrame,
    runs: pd.DataFrame,
    metric: str,
    system: tuple[str, str],
) -> None:
    own = summary[_is(summary, system) & (summary["metric"] == metric)]
    own = own.dropna(subset="mean").sort_values("missing_rate")
    if own.empty:
        return
    style = system_style(*system)
    rates = own["missing_rate"]
    axis.plot(
        rates,
        shown(metric, own["mean"]),
        color=style.colour,
        marker=style.marker,
        linestyle=style.line,
        label=system_name(*system),
    )
    band = shown(metric, own["lo"]), shown(metric, own["hi"])
    axis.fill_between(rates, *band, color=style.colour, alpha=0.13, linewidth=0)
    single = runs[_is(runs, system)]
    axis.scatter(
        single["missing_rate"],
        shown(metric, single[f"test_{metric}"]),
        s=9,
        color=style.colour,
        alpha=0.7,
        linewidth=0,
        zorder=3,
    )


def _loss_panel(axis: Axes, own: pd.DataFrame, title: str) -> None:
    for (split, _), line in own.groupby(["split", "seed"]):
        axis.plot(
            line["epoch"],
            line["value"],
            color=SPLIT_COLOURS[split],
            linestyle={"train": "-", "valid": "--"}[split],
            linewidth=1.4,
            label=split,
        )
    for epoch in own["best_epoch"].unique():
        axis.axvline(epoch, color="#444444", linestyle=":", linewidth=1)
    axis.set(xlabel="epoch", ylabel="loss")
    axis.margins(y=0.15)
    axis.set_title(title, fontsize=10)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))


def _term_name(model: str, term: str) -> str:
    name = TERM_NAMES.get(term, term.replace("_", ": ", 1))
    return OWN_TERM_NAMES.get((model, term), name)


def _legend_outside(figure: Figure, axes: np.ndarray, title: str) -> None:
    """Put one legend for all panels below them, and the data set above them."""
    entries: dict[str, object] = {}
    for axis in axes.flat:
        handles, labels = axis.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=min(len(entries), 6),
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color="#444444")


def closed_picture(figure: Figure, name: str, alt: str, caption: str) -> Picture:
    """Make a picture of a figure and close the figure."""
    picture = Picture.of(figure, name, alt, caption)
    plt.close(figure)  # else the notebook would show it a second time
    return picture


def mask_pictures(masks: pd.DataFrame, name: str) -> Picture:
    """Draw which steps of the first clips are kept, missing or padding.

    Parameters
    ----------
    masks : DataFrame
        The ``masks`` table of one data set's passport.
    name : str
        Stem of the file names.

    Returns
    -------
    Picture
        A row of panels per missing rate, a panel per modality, a line per clip.
    """
    rates = sorted(masks["rate"].unique())
    with house_style():
        figure, axes = plt.subplots(
            len(rates),
            len(MODALITIES),
            figsize=(11, 2.4 * len(rates) + 0.6),
            squeeze=False,
            layout="constrained",
        )
        for line, rate in zip(axes, rates, strict=True):
            for axis, modality in zip(line, MODALITIES, strict=True):
                codes = mask_picture(masks, rate, modality)
                axis.imshow(
                    codes,
                    cmap=ListedColormap(_MASK_COLOURS),
                    vmin=0,
                    vmax=2,
                    aspect="auto",
                    interpolation="nearest",
                    extent=(0.5, codes.shape[1] + 0.5, len(codes) + 0.5, 0.5),
                )
                axis.grid(visible=False)
                axis.set(xlabel=f"{modality} step", ylabel="clip")
                axis.set_title(f"{modality}, missing rate {rate}")
                axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        figure.legend(
            [Patch(facecolor=c, edgecolor="#444444") for c in _MASK_COLOURS[::-1]],
            ["kept", "missing", "padding"],
            loc="outside lower center",
            ncols=3,
        )
        figure.suptitle(short_label(masks), x=0.01, ha="left", color="#444444")
        clips = masks["clip"].nunique()
        seeds = ", ".join(
            f"{seed} ({modality})"
            for modality, seed in zip(MODALITIES, SEEDS, strict=True)
        )
        caption = (
            f"{short_label(masks)}: what is kept of the first {clips} train clips "
            f"under the protocol's fixed mask seeds: {seeds}."
        )
        alt = (
            f"One line per clip. From missing rate {rates[0]} to {rates[-1]} ever more "
            "steps are missing, and a step once missing stays missing; the first and "
            "the last token of each sentence are kept at every rate."
        )
        return closed_picture(figure, name, alt, caption)


def label_histogram(labels: pd.DataFrame, name: str) -> Picture:
    """Draw how many clips have which sentiment score, one panel per split.

    Parameters
    ----------
    labels : DataFrame
        The ``labels`` table of one data set's passport.
    name : str
        Stem of the file names.
    """
    import seaborn as sns  # a second to load, and only this figure needs it

    splits = [split for split in SPLITS if split in set(labels["split"])]
    low, high = labels["label"].min(), labels["label"].max()
    edges = np.arange(low - LABEL_STEP / 2, high + LABEL_STEP, LABEL_STEP).tolist()
    with house_style():
        figure, axes = plt.subplots(
            1,
            len(splits),
            figsize=(11, 3.2),
            squeeze=False,
            sharex=True,
            layout="constrained",
        )
        words = []
        for axis, split in zip(axes.flat, splits, strict=True):
            own = labels[labels["split"] == split]
            sns.histplot(
                own,
                x="label",
                weights="clips",
                bins=edges,
                color=SPLIT_COLOURS[split],
                shrink=0.85,
                alpha=1,
                linewidth=0,
                ax=axis,
            )
            total = own["clips"].sum()
            mean = np.average(own["label"], weights=own["clips"])
            axis.set(xlabel="sentiment score (label units)", ylabel="clips")
            axis.set_title(f"{split}: {total} clips")
            words.append(f"{split} {total} clips, mean score {mean:.2f}")
        figure.suptitle(short_label(labels), x=0.01, ha="left", color="#444444")
        caption = (
            f"{short_label(labels)}: clips by sentiment score in each split, in "
            f"bins of {LABEL_STEP}."
        )
        return closed_picture(figure, name, f"Histograms: {'; '.join(words)}.", caption)


def length_histogram(lengths: pd.DataFrame, name: str) -> Picture:
    """Draw how long the sequences of each modality are, padding not counted.

    Parameters
    ----------
    lengths : DataFrame
        The ``length_histogram`` table of one data set's passport.
    name : str
        Stem of the file names.

    Returns
    -------
    Picture
        A panel per modality, a line per split: share of clips against true length.
    """
    with house_style():
        figure, axes = plt.subplots(
            1,
            len(MODALITIES),
            figsize=(11, 3.4),
            squeeze=False,
            layout="constrained",
        )
        words = []
        for axis, modality in zip(axes.flat, MODALITIES, strict=True):
            own = lengths[lengths["modality"] == modality]
            for split, line in own.groupby("split", sort=False):
                middle = (line["low"] + line["high"]) / 2
                share = 100 * line["clips"] / line["clips"].sum()
                axis.step(
                    middle,
                    share,
                    where="mid",
                    color=SPLIT_COLOURS[split],
                    linestyle={"train": "-", "valid": "--", "test": ":"}[split],
                    label=split,
                )
            axis.set(xlabel=f"{modality} length (steps)", ylabel="clips (%)")
            axis.set_title(modality)
            axis.set_ylim(bottom=0)
            longest = own.loc[own["clips"] > 0, "high"].max()
            words.append(f"{modality} up to {longest} steps")
        _legend_outside(figure, axes, short_label(lengths))
        caption = (
            f"{short_label(lengths)}: true lengths of the sequences, padding not "
            "counted, by split."
        )
        return closed_picture(
            figure, name, f"True lengths: {', '.join(words)}.", caption
        )


def probe_bars(probes: pd.DataFrame, name: str) -> Picture:
    """Draw what a linear probe reads from each modality alone.

    Parameters
    ----------
    probes : DataFrame
        The ``probes`` table of one data set's passport.
    name : str
        Stem of the file names.
    """
    own = probes.dropna(subset="test_corr")
    with house_style():
        figure, axis = plt.subplots(
            figsize=(7.5, 0.45 * len(own) + 1.3), layout="constrained"
        )
        colours = [MODALITY_COLOURS.get(f, "#6E6E6E") for f in own["features"]]
        bars = axis.barh(own["features"], own["test_corr"], color=colours)
        axis.bar_label(bars, fmt="%.2f", padding=3)
        axis.invert_yaxis()
        axis.set_xlim(min(0.0, own["test_corr"].min()), 1)
        axis.set(xlabel="Corr on the test split (ridge probe)")
        axis.set_title(short_label(own))
        caption = (
            f"{short_label(own)}: Pearson correlation of a ridge probe with the labels "
            "of the test split, from the modalities named at the left."
        )
        alt = "Correlation of linear probes: " + ", ".join(
            f"{row.features} {row.test_corr:.2f}" for row in own.itertuples()
        )
        return closed_picture(figure, name, f"{alt}.", caption)


_MASK_COLOURS = ("#FFFFFF", "#E69F00", "#0072B2")
"""Padding, missing, kept: apart in brightness too, for print without colour."""


def _is(frame: pd.DataFrame, system: tuple[str, str]) -> pd.Series:
    model, variant = system
    return (frame["model"] == model) & (frame["variant"] == variant)


def _term_order(term: str) -> int:
    """Put the total first and the task second; the others stay as they came."""
    first = ("total", "task")
    return first.index(term) if term in first else len(first)


def _convergence_in_words(own: pd.DataFrame, system: str) -> str:
    total = own[own["term"] == "total"].sort_values("epoch")
    parts = []
    for split in ("train", "valid"):
        runs = total[total["split"] == split].groupby("run_id")["value"]
        parts.append(f"{split} {runs.first().mean():.2f} to {runs.last().mean():.2f}")
    return f"{system}, total loss from the first to the last epoch, mean of runs: " + (
        f"{', '.join(parts)}."
    )
