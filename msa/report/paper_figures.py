"""MIT-FRNet's Figures 5 to 9 again, from published runs."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from msa.data.registry import default_view, source
from msa.data.text import default_encoder
from msa.report.beyond import Shown, not_run, plain_table
from msa.report.compare import NOT_RUN
from msa.report.figures import closed_picture
from msa.report.labels import (
    curves_of,
    describe,
    main_runs,
    seeds_used,
    view_words,
)
from msa.report.paper_tables import place, printed_name
from msa.report.style import SPLIT_COLOURS, Picture, house_style, system_style
from msa.study.cells import has_converged, is_flat
from msa.study.grids import comparison_of
from msa.study.layout import matching
from msa.study.results import load_runs
from msa.train.metrics import METRICS, RATES

MODEL = "MIT-FRNet"
"""Whose losses Figures 8 and 9 show."""


def mwa_picture(cells: pd.DataFrame, name: str) -> Picture:
    """Draw weighted averages over missing rates, the paper's and ours, by system.

    Parameters
    ----------
    cells : DataFrame
        From :func:`msa.report.compare.compared` for the pages of Figures 6 and 7.
    name : str
        Stem of the file names.

    Returns
    -------
    Picture
        A panel per data set and metric; open marks are the paper's (from its tables),
        full ones ours with their intervals. Systems without ours say so.
    """
    panels = list(cells.groupby(["dataset", "key"], sort=False))
    columns = 4
    rows = -(-len(panels) // columns)
    with house_style():
        figure, axes = plt.subplots(
            *(rows, columns),
            figsize=(11.0, 2.1 * rows + 0.6),
            squeeze=False,
            layout="constrained",
        )
        for axis, ((dataset, key), own) in zip(axes.flat, panels, strict=False):
            _mwa_panel(axis, own)
            title = source(dataset, own["view"].iloc[0]).title
            name_ = printed_name(key, own["factor"].iloc[0])
            axis.set_title(f"{title}\n{name_}", fontsize=10)
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        marks = [
            Line2D([], [], color="#444", marker="o", mfc="white", ls="", label="paper"),
            Line2D([], [], color="#444", marker="o", label="ours, 95 % interval"),
        ]
        figure.legend(handles=marks, loc="outside upper right", ncols=2)
        figure.supxlabel("weighted average over missing rates, in the paper's unit")
    caption = (
        "Weighted average over missing rates (eq. 25, divided by 10), in the paper's "
        "units. The paper prints no numbers with its figures: open marks are computed "
        f"from its tables. For MAE less is better. {place(cells)}"
    )
    return closed_picture(figure, name, _mwa_in_words(panels), caption)


def _mwa_panel(axis: Axes, own: pd.DataFrame) -> None:
    for number, cell in enumerate(own.itertuples()):
        style = system_style(cell.system)
        look = {"color": style.colour, "marker": style.marker, "ls": ""}
        axis.plot(cell.paper_value, number, mfc="white", **look)
        if cell.status:
            axis.text(
                1.0,
                number,
                f" {cell.status}",
                fontsize=7,
                va="center",
                transform=axis.get_yaxis_transform(),
            )
            continue
        axis.plot(cell.ours, number, **look)
        axis.hlines(number, cell.lo, cell.hi, color=style.colour)
    axis.set_yticks(range(len(own)), own["system"], fontsize=9)
    axis.set_ylim(len(own) - 0.4, -0.6)
    axis.tick_params(axis="x", labelsize=8)
    axis.margins(x=0.1)


def _mwa_in_words(panels: list) -> str:
    words = []
    for (dataset, key), own in panels:
        better = METRICS[key].higher_is_better
        best = []
        for whose, column in (("paper", "paper_value"), ("ours", "ours")):
            known = own.dropna(subset=column).sort_values(column, ascending=not better)
            leader = known["system"].iloc[0] if len(known) else NOT_RUN
            best.append(f"{whose} {leader}")
        title = source(dataset).title
        words.append(f"{title} {METRICS[key].name}: best in {', '.join(best)}")
    return ". ".join(words) + "."


def convergence_picture(
    dataset: str, *, view: str | None = None, encoder_mode: str = "frozen"
) -> Picture:
    """Draw the total loss over epochs at every missing rate.

    Parameters
    ----------
    dataset : str
    view : str, optional
        The data set's default when left out.
    encoder_mode : {"frozen", "finetune"}

    Returns
    -------
    Picture
        A panel per missing rate, a line per seed and split, a dot at the epoch whose
        weights are tested. Rates without a run say so.
    """
    view, encoder = _usual(dataset, view)
    runs, total = _losses(dataset, view, encoder, encoder_mode)
    title = source(dataset, view).title
    with house_style():
        figure, axes = plt.subplots(
            *(3, 4), figsize=(11.0, 7.4), sharex=True, layout="constrained"
        )
        for axis, rate in zip(axes.flat, RATES, strict=False):
            _loss_panel(axis, runs[np.isclose(runs["missing_rate"], rate)], total)
            axis.set_title(f"missing rate {rate:.1f}", fontsize=10)
        axes.flat[-1].set_axis_off()
        for axis in (*axes[-1, :3], axes[1, 3]):
            axis.set_xlabel("epoch")
            axis.xaxis.set_tick_params(labelbottom=True)
        for axis in axes[:, 0]:
            axis.set_ylabel("total loss")
        lines = [Line2D([], [], color=SPLIT_COLOURS[s], label=s) for s in _SPLITS]
        lines.append(Line2D([], [], color="#444", marker="o", ls="", label="tested"))
        axes.flat[-1].legend(handles=lines, loc="center", title=f"{MODEL}\n{title}")
    seeds = seeds_used(runs) if len(runs) else NOT_RUN
    features = view_words(view, [dataset])
    caption = (
        f"{MODEL} on {title}: weighted sum of all loss terms after every epoch, a line "
        f"per seed. {features.capitalize()}, text encoder {encoder} "
        f"({encoder_mode}); {seeds}. Every panel has an axis of its own."
    )
    alt = _losses_in_words(runs, total)
    return closed_picture(figure, f"{dataset}-{MODEL}-convergence", alt, caption)


def by_metric(cells: pd.DataFrame) -> pd.DataFrame:
    """Order cells as the panels of Figure 5: binary, more classes, F1, MAE, Corr."""
    panels = (("Acc-2",), ("Acc-3", "Acc-5", "Acc-7"), ("F1",), ("MAE",), ("Corr",))
    number = {metric: i for i, group in enumerate(panels) for metric in group}
    order = cells["metric"].map(number).sort_values(kind="stable").index
    return cells.loc[order].reset_index(drop=True)


_SPLITS = ("train", "valid")


def convergence_in_short(
    dataset: str, *, view: str | None = None, encoder_mode: str = "frozen"
) -> str:
    """Count the runs whose training loss has come down and settled."""
    view, encoder = _usual(dataset, view)
    runs, total = _losses(dataset, view, encoder, encoder_mode)
    train = total[total["split"] == "train"].sort_values("epoch")
    lines = [line["value"].to_numpy() for _, line in train.groupby("run_id")]
    if not lines:
        return f"No run of {MODEL} on {source(dataset, view).title} is stored yet."
    settled = sum(has_converged(line) for line in lines)
    fallen = sum(line[-1] < line[0] for line in lines)
    epochs = runs["epochs"].median()
    return (
        f"Of {len(lines)} runs at {runs['missing_rate'].nunique()} of {len(RATES)} "
        f"missing rates, the training loss has come down in {fallen} and has settled "
        f"in {settled}; half of the runs stopped within {epochs:.0f} epochs."
    )


def convergence_table(
    dataset: str, *, view: str | None = None, encoder_mode: str = "frozen"
) -> Shown:
    """Tabulate where the training loss begins and ends at every missing rate."""
    view, encoder = _usual(dataset, view)
    runs, total = _losses(dataset, view, encoder, encoder_mode)
    if runs.empty:
        return not_run(comparison_of(dataset, view, encoder_mode))
    train = total[total["split"] == "train"].sort_values("epoch")
    rows = []
    for rate, own in runs.groupby("missing_rate"):
        lines = [
            train.loc[train["run_id"] == i, "value"].to_numpy() for i in own["run_id"]
        ]
        rows.append(
            {
                "missing_rate": rate,
                "seeds": len(lines),
                "epochs": own["epochs"].mean(),
                "first": np.mean([line[0] for line in lines]),
                "last": np.mean([line[-1] for line in lines]),
                "settled": sum(map(has_converged, lines)),
                "flat": sum(map(is_flat, lines)),
            }
        )
    found = pd.DataFrame(rows)
    cells = pd.DataFrame(
        {
            "Rate": found["missing_rate"].map("{:.1f}".format),
            "Seeds": found["seeds"],
            "Epochs": found["epochs"].map("{:.1f}".format),
            "First loss": found["first"].map("{:.3f}".format),
            "Last loss": found["last"].map("{:.3f}".format),
            "Change": (found["last"] / found["first"] - 1).map("{:+.0%}".format),
            "Settled": found["settled"],
            "Hardly changes": found["flat"],
        }
    )
    caption = (
        f"Total training loss of {MODEL} on {source(dataset, view).title}, means over "
        "seeds, and in how many seeds it settles or hardly changes by the rules below. "
        f"{describe(runs)}"
    )
    return plain_table(cells, found, f"{dataset}-{MODEL}-losses", caption)


def _usual(dataset: str, view: str | None) -> tuple[str, str]:
    """Return view and text encoder: the data set's own view where none is named."""
    view = view or default_view(dataset)
    return view, default_encoder(source(dataset, view).language)


def _losses(
    dataset: str, view: str, encoder: str, encoder_mode: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return MIT-FRNet's main runs and their total losses."""
    place = {"dataset": dataset, "view": view, "model": MODEL, "encoder": encoder}
    runs = matching(main_runs(load_runs()), {**place, "encoder_mode": encoder_mode})
    empty = pd.DataFrame(columns=["run_id", "epoch", "split", "term", "value"])
    curves = curves_of(runs) if len(runs) else empty
    return runs, curves[curves["term"] == "total"]


def _loss_panel(axis: Axes, runs: pd.DataFrame, total: pd.DataFrame) -> None:
    if runs.empty:
        axis.text(0.5, 0.5, NOT_RUN, ha="center", transform=axis.transAxes)
        axis.set_yticks([])
        return
    for run in runs.itertuples():
        own = total[total["run_id"] == run.run_id]
        for split in _SPLITS:
            line = own[own["split"] == split].sort_values("epoch")
            colour = SPLIT_COLOURS[split]
            axis.plot(line["epoch"], line["value"], color=colour, lw=1.2)
            tested = line[line["epoch"] == run.best_epoch]
            axis.plot(tested["epoch"], tested["value"], "o", color=colour, ms=4)
    axis.tick_params(labelsize=8)


def _losses_in_words(runs: pd.DataFrame, total: pd.DataFrame) -> str:
    words = []
    for rate, own in runs.groupby("missing_rate"):
        train = total[total["run_id"].isin(own["run_id"]) & (total["split"] == "train")]
        ends = train.sort_values("epoch").groupby("run_id")["value"]
        first, last = ends.first().mean(), ends.last().mean()
        words.append(f"at rate {rate:.1f} from {first:.2f} to {last:.2f}")
    told = ", ".join(words) if words else NOT_RUN
    return (
        f"Total training loss of {MODEL}, first to last epoch, mean of seeds: {told}."
    )
