"""Figures of the audit chapter, one per question.

Every function takes ``look``, which gives a system's colour and marker (the book's
``system_style``), and returns a `Drawing`. Colours never carry a meaning alone:
markers, line styles or words say the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from msa.audit import papers
from msa.audit.f1 import class_counts, f1_region
from msa.audit.noise_floor import SIGNIFICANT
from msa.audit.tidy import higher_is_better
from msa.study.layout import matching


class Style(Protocol):
    """What a look says of a system."""

    colour: str
    marker: str


Look = Callable[[str], Style]


class Drawing(NamedTuple):
    """A figure and what goes with it.

    Attributes
    ----------
    figure : Figure
        Drawn in the style that was active.
    name : str
        Stem of file names.
    alt : str
        What it shows, in words.
    caption : str
        Line under the figure.
    """

    figure: Figure
    name: str
    alt: str
    caption: str


_GREY = "#777777"
_BAND = "#E3E8EE"
_WARN = "#D55E00"
_CALM = "#0072B2"
_MIT_MODELS = ("TFN", "MulT", "MISA", "TFR-Net", "Ours")
_ABLATIONS = {
    "MIT-FRNet (ablation MMR)": "w/o MMR",
    "MIT-FRNet (ablation MITR)": "w/o MITR",
}
_SWEEPS = ("Table 4", "Table 5")  # of MIT-FRNet
_QUOTED = ("TFN", "LMF", "MulT", "MISA", "Self-MM", "TFR-Net", "MMIM")


def _system(paper: str, model: str) -> str:
    """Return the system whose look a table row has."""
    if model in _ABLATIONS:
        return "MIT-FRNet"
    return paper if model == "Ours" or model.startswith("w/o") else model


def _name(paper: str, model: str) -> str:
    """Return what a legend calls a table row."""
    return _ABLATIONS.get(model, paper if model == "Ours" else model)


def _metric(metric: str, variant: str) -> str:
    return f"{metric} {variant.capitalize()}".strip()


def _legend_below(figure: Figure, handles: list, columns: int) -> None:
    figure.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=columns
    )


def _point(look: Look, system: str, label: str, **more: object) -> Line2D:
    style = look(system)
    settings = {"linestyle": "", "marker": style.marker, "color": style.colour}
    return Line2D([], [], label=label, **(settings | more))


def _finished(figure: Figure, name: str, alt: str, caption: str) -> Drawing:
    plt.close(figure)  # else a notebook shows it a second time
    return Drawing(figure, name, alt, caption)


def granularity(look: Look) -> Drawing:
    """Attained share of accuracies as means of three runs, against chance."""
    table = papers.granularity_by_model()
    table = table[(table["runs"] == 3) & table["p_value"].notna()]
    groups = list(table.groupby(["paper", "table"], sort=False))
    rows = sum(len(group) for _, group in groups) + len(groups)
    figure, axis = plt.subplots(figsize=(8.4, 0.33 * rows + 0.9))
    ticks, names, height = [], [], 0
    for (paper, title), group in groups:
        axis.text(0, height, f"{paper} {title}", va="center", fontweight="bold")
        height += 1
        for row in group.itertuples():
            style = look(_system(paper, row.model))
            axis.plot([0, 100], [height, height], color=_BAND, zorder=1)
            axis.plot(
                100 * row.expected_share,
                height,
                "|",
                color="black",
                markersize=13,
                markeredgewidth=2,
            )
            axis.plot(
                100 * row.share,
                height,
                style.marker,
                color=style.colour,
                markersize=9,
                clip_on=False,
            )
            axis.text(102, height, f"{row.attained} of {row.cells}", va="center")
            ticks.append(height)
            names.append(_name(paper, row.model))
            height += 1
    axis.set_yticks(ticks, names)
    axis.set_ylim(height - 0.5, -0.8)
    axis.set_xlim(0, 100)
    axis.grid(visible=False)
    axis.set_xlabel("accuracies that a mean of three runs can give (% of cells)")
    _legend_below(
        figure,
        [
            Line2D([], [], linestyle="", marker="o", color=_GREY, label="attained"),
            Line2D(
                [],
                [],
                linestyle="",
                marker="|",
                markersize=13,
                markeredgewidth=2,
                color="black",
                label="expected if digits fell at random",
            ),
        ],
        2,
    )
    mit = table[(table["paper"] == "MIT-FRNet") & (table["table"] == "Table 4")]
    own = mit[mit["model"] == "Ours"].iloc[0]
    rest = mit[mit["model"] != "Ours"]
    alt = (
        "Dot plot by table and system: share of printed accuracies that a mean of "
        "three runs can give, with the share expected by chance. In MIT-FRNet Table 4 "
        f"the rows of other systems attain {rest['share'].min():.0%} to "
        f"{rest['share'].max():.0%}, its own row {own.share:.0%}, chance is about "
        f"{mit['expected_share'].mean():.0%}."
    )
    caption = (
        "Printed accuracies of both papers in tables where the check has power. Cells "
        "that equal a constant predictor are left out. n = 686 (Has0, Acc-5, Acc-7) "
        "and 656 (Non0) on MOSI, 457 on CH-SIMS, 672 in MFMB-Net Table 2 (Non0 left "
        "out)."
    )
    return _finished(figure, "audit-granularity", alt, caption)


def neutral_counts(look: Look) -> Drawing:
    """Neutral clips predicted as non-negative, from the two binary accuracies."""
    table = papers.neutral_counts()
    share = 100 * table["count"] / table["neutral"]
    table = table.assign(share=share, error=100 * table["margin"] / table["neutral"])
    by_rate = table[table["rate"].notna()]
    single = table[table["rate"].isna()].reset_index(drop=True)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10.5, 4.6), sharey=True, width_ratios=[1.5, 1]
    )
    for axis in (left, right):
        axis.axhspan(0, 100, color=_BAND, zorder=0)
    handles = []
    models = [*_MIT_MODELS, *_ABLATIONS]
    for place, model in enumerate(models):
        rows = by_rate[by_rate["model"] == model]
        style = look(_system("MIT-FRNet", model))
        hollow = {"markerfacecolor": "white"} if model in _ABLATIONS else {}
        marker = {"w/o MMR": "^", "w/o MITR": "v"}.get(
            _ABLATIONS.get(model, ""), style.marker
        )
        looks = {"color": style.colour, "marker": marker, "linestyle": ""} | hollow
        shift = 0.011 * (place - (len(models) - 1) / 2)
        left.errorbar(
            rows["rate"] + shift, rows["share"], rows["error"], elinewidth=0.8, **looks
        )
        handles.append(Line2D([], [], label=_name("MIT-FRNet", model), **looks))
    for row in by_rate[by_rate["slip"]].itertuples():
        left.annotate(
            f"{_name(row.paper, row.model)}: {row.count:.1f} of {row.neutral}",
            (row.rate, row.share),
            # Two of them lie close together: one label up, one down.
            xytext=(-12, 6 if row.model == "TFR-Net" else -6),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=9,
        )
    left.set_xlabel("missing rate")
    left.set_xticks(np.arange(0, 1.01, 0.2))
    left.set_ylabel("neutral clips predicted non-negative\n(% of all neutral clips)")
    left.set_title("MIT-FRNet, MOSI")
    for row in single.itertuples():
        style = look(_system(row.paper, row.model))
        tables = ("Table 2", "Table 3", "Table 4", "Table 5")
        place = 4 * (row.dataset == "MOSEI") + tables.index(row.table)
        right.errorbar(
            place,
            row.share,
            row.error,
            color=style.colour,
            marker=style.marker,
            elinewidth=0.8,
            alpha=0.85,
        )
    right.set_xticks([0, 1, 2, 3, 5, 6], ["2", "3", "4", "5", "3", "4"])
    right.set_xlabel("table; MOSI (left), MOSEI (right)")
    right.set_title("MFMB-Net")
    quoted = [m for m in dict.fromkeys(single["model"]) if m not in _MIT_MODELS]
    seen = {handle.get_label() for handle in handles}
    for model in quoted:
        system = _system("MFMB-Net", model)
        if system not in seen:
            handles.append(_point(look, system, system))
            seen.add(system)
    handles.append(Patch(color=_BAND, label="possible"))
    _legend_below(figure, handles, 6)
    figure.tight_layout()
    slips = by_rate[by_rate["slip"]]
    words = "; ".join(
        f"{_name(r.paper, r.model)} at rate {r.rate:.1f}: {r.count:.1f}"
        for r in slips.itertuples()
    )
    alt = (
        "Share of neutral clips predicted as non-negative, computed from the two "
        "printed accuracies of each row, over missing rates for MIT-FRNet and by table "
        f"for MFMB-Net. {len(slips)} of {len(table)} rows lie outside 0 to 100 "
        f"percent: {words} of 30 clips."
    )
    caption = (
        "One point per table row; bars show how far rounding can move it. MOSI has 30 "
        "neutral test clips, MOSEI 1025."
    )
    return _finished(figure, "audit-has0-non0", alt, caption)


def constants(look: Look) -> Drawing:
    """Accuracies over missing rates beside predictors that ignore their input."""
    cells, found = papers.cells(), papers.findings("constants")
    mit = cells[(cells["paper"] == "MIT-FRNet") & cells["table"].isin(_SWEEPS)]
    equal = found[
        (found["verdict"] == "equals-constant") & found["table"].isin(_SWEEPS)
    ]
    panels = (
        ("MOSI", "Acc-2", "has0"),
        ("MOSI", "Acc-2", "non0"),
        ("SIMS", "Acc-2", ""),
        ("SIMS", "Acc-5", ""),
    )
    figure, axes = plt.subplots(2, 2, figsize=(10, 7.2), sharex=True)
    for axis, (dataset, metric, variant) in zip(axes.flat, panels, strict=True):
        here = {"dataset": dataset, "metric": metric, "variant": variant}
        for model in _MIT_MODELS:
            style = look(_system("MIT-FRNet", model))
            rows = matching(mit, {**here, "model": model})
            axis.plot(
                rows["rate"],
                rows["value"],
                color=style.colour,
                marker=style.marker,
                linewidth=1.2,
                markersize=5,
            )
        hits = matching(equal, here)
        axis.plot(
            hits["rate"],
            hits["printed"].astype(float),
            "o",
            markersize=14,
            markerfacecolor="none",
            markeredgecolor="black",
            linestyle="",
        )
        levels = matching(papers.constant_scores(), here)
        majority = levels["score"].max()
        axis.axhline(100 * majority, color="black", linestyle="--", linewidth=1.4)
        median = levels.loc[levels["predictor"] == "train median", "score"].iloc[0]
        axis.axhline(100 * median, color="black", linestyle=":", linewidth=1.4)
        axis.set_title(f"{dataset} {_metric(metric, variant)}")
        axis.set_ylabel("accuracy (%)")
    for axis in axes[-1]:
        axis.set_xlabel("missing rate")
    handles = [
        _point(look, _system("MIT-FRNet", m), _name("MIT-FRNet", m))
        for m in _MIT_MODELS
    ]
    handles += [
        Line2D(
            [], [], color="black", linestyle="--", label="majority class of the test"
        ),
        Line2D([], [], color="black", linestyle=":", label="train median"),
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            markersize=12,
            markerfacecolor="none",
            markeredgecolor="black",
            label="equals a constant",
        ),
    ]
    _legend_below(figure, handles, 4)
    figure.tight_layout()
    sims = cells[(cells["dataset"] == "SIMS") & (cells["metric"] == "Acc-5")]
    majority = papers.majority_shares().set_index(["dataset", "metric"])["score"]
    alt = (
        "Four panels of accuracy over the missing rate for five systems of MIT-FRNet: "
        "MOSI Acc-2 Has0 and Non0, CH-SIMS Acc-2 and Acc-5, with horizontal lines for "
        "the majority class and for the train median. On MOSI accuracies fall from "
        "above 80 to below the majority line at the largest rates. On CH-SIMS Acc-2 "
        f"stays near the majority line of {majority['SIMS', 'Acc-2']:.1%} at every "
        f"rate, and every Acc-5, at most {sims['value'].max():.1f} percent, lies below "
        f"the majority line of {majority['SIMS', 'Acc-5']:.1%}."
    )
    caption = (
        "MIT-FRNet Tables 4 (MOSI) and 5 (CH-SIMS). Rings: printed values that equal "
        "the score of a predictor that ignores its input."
    )
    return _finished(figure, "audit-constants", alt, caption)


_GROUPS = (("MFMB-Net", True), ("MFMB-Net", False), ("MIT-FRNet", False))
"""Paper, and whether the points are the systems it quotes."""

_PANELS = (("MOSI", "has0"), ("MOSI", "non0"), ("MOSEI", "non0"), ("SIMS", ""))


def f1_plane(look: Look) -> Drawing:
    """F1 minus accuracy against accuracy, with the regions of both definitions."""
    pairs = papers.f1_pairs()
    figure, axes = plt.subplots(2, 2, figsize=(10, 8))
    for axis, (dataset, variant) in zip(axes.flat, _PANELS, strict=True):
        rows = pairs[(pairs["dataset"] == dataset) & (pairs["variant"] == variant)]
        _regions(axis, dataset, variant)
        for paper, quoted in _GROUPS:
            own = rows[rows["paper"] == paper]
            is_quoted = own["model"].isin(_QUOTED) & (own["table"] != "Table 2")
            own = own[is_quoted == quoted] if paper == "MFMB-Net" else own
            axis.plot(own["accuracy"], own["gap"], **_group(look, paper, quoted))
        _constant_stars(axis, dataset, variant)
        name = _metric("Acc-2", variant) if variant else "Acc-2"
        axis.set_title(f"{dataset} {variant.capitalize()}".strip())
        axis.set_xlabel(f"{name} (%)")
        axis.set_ylabel("F1 minus accuracy (points)")
        left = min(rows["accuracy"].min() - 3, 40 if dataset == "MOSI" else 60)
        axis.set_xlim(left, 90)
        axis.set_ylim(-22, 22)
    handles = [
        Patch(color=_CALM, alpha=0.22, label="possible with correct class weights"),
        Patch(color=_WARN, alpha=0.22, label="possible with swapped class weights"),
        Line2D(
            [], [], label="MFMB-Net, quoted systems", **_group(look, "MFMB-Net", True)
        ),
        Line2D([], [], label="MFMB-Net, own rows", **_group(look, "MFMB-Net", False)),
        Line2D([], [], label="MIT-FRNet, all rows", **_group(look, "MIT-FRNet", False)),
        Line2D(
            [],
            [],
            linestyle="",
            marker="*",
            color="black",
            markersize=11,
            label="constant predictors",
        ),
    ]
    _legend_below(figure, handles, 3)
    figure.tight_layout()
    table = pairs[(pairs["paper"] == "MFMB-Net") & (pairs["table"] == "Table 4")]
    mosi = table[table["dataset"] == "MOSI"]
    own = mosi["model"] == "Ours"
    alt = (
        "Four panels of F1 minus accuracy against accuracy. Correct class weights "
        "allow hardly any point above zero, swapped ones hardly any below. Of "
        "MFMB-Net's Table 4 on MOSI the quoted systems lie between "
        f"{mosi.loc[~own, 'gap'].min():.1f} and {mosi.loc[~own, 'gap'].max():.1f}, its "
        f"own model at {mosi.loc[own, 'gap'].min():+.1f} and "
        f"{mosi.loc[own, 'gap'].max():+.1f}. Nearly all points of MIT-FRNet lie on or "
        "above zero, many near the swapped score of a constant predictor."
    )
    caption = (
        "One point per printed pair of Acc-2 and F1. The regions follow from the class "
        "counts of the test split; they also hold for means over runs and areas over "
        "rates."
    )
    return _finished(figure, "audit-f1", alt, caption)


def _group(look: Look, paper: str, quoted: bool) -> dict[str, object]:
    settings = {"linestyle": "", "markersize": 6, "alpha": 0.9}
    if quoted:
        return settings | {"marker": "x", "color": "#222222", "markeredgewidth": 1.8}
    style = look(paper)
    return settings | {"marker": style.marker, "color": style.colour}


def _regions(axis: Axes, dataset: str, variant: str) -> None:
    lower, upper = f1_region(class_counts(papers.labels(), dataset, variant))
    accuracy = np.linspace(0, 1, 201)
    ends = [
        np.interp(accuracy, edge[:, 0], edge[:, 1]) - accuracy
        for edge in (lower, upper)
    ]
    x = 100 * accuracy
    axis.fill_between(x, 100 * ends[0], 100 * ends[1], color=_CALM, alpha=0.22, lw=0)
    axis.fill_between(x, -100 * ends[1], -100 * ends[0], color=_WARN, alpha=0.22, lw=0)
    axis.axhline(0, color=_GREY, linewidth=0.8)


def _constant_stars(axis: Axes, dataset: str, variant: str) -> None:
    table = papers.constant_scores()
    table = table[
        (table["dataset"] == dataset)
        & (table["variant"] == variant)
        & table["predictor"].isin(["all positive", "all negative"])
    ]
    accuracy = table[table["metric"] == "Acc-2"].set_index("predictor")["score"]
    for row in table[table["metric"] == "F1"].itertuples():
        x = 100 * accuracy[row.predictor]
        axis.plot(x, 100 * row.score - x, "*", color="black", markersize=11, zorder=5)


def one_definition(look: Look) -> Drawing:
    """F1 of MFMB-Net's Table 4 as printed and by one definition."""
    pairs = papers.f1_pairs()
    table = pairs[(pairs["paper"] == "MFMB-Net") & (pairs["table"] == "Table 4")]
    figure, axes = plt.subplots(1, 4, figsize=(11, 3.9), sharey=True)
    models = [*_QUOTED, "Ours"]
    panels = [(d, v) for d in ("MOSI", "MOSEI") for v in ("has0", "non0")]
    for axis, (dataset, variant) in zip(axes, panels, strict=True):
        rows = table[(table["dataset"] == dataset) & (table["variant"] == variant)]
        rows = rows.set_index("model").loc[models]
        for place, (model, row) in enumerate(rows.iterrows()):
            style = look(_system("MFMB-Net", model))
            axis.plot(row["f1"], place, style.marker, color=style.colour, markersize=8)
            if model == "Ours":
                axis.annotate(
                    "",
                    (row["mirrored"], place),
                    (row["f1"], place),
                    arrowprops={"arrowstyle": "->", "color": style.colour, "lw": 1.6},
                )
                axis.plot(
                    row["mirrored"],
                    place,
                    style.marker,
                    color=style.colour,
                    markerfacecolor="white",
                    markersize=8,
                )
        axis.axvline(rows["f1"].drop("Ours").max(), color=_GREY, linestyle=":")
        axis.set_title(f"{dataset} {variant.capitalize()}")
        axis.set_xlabel("F1 (%)")
    axes[0].set_yticks(range(len(models)), [_name("MFMB-Net", m) for m in models])
    axes[0].invert_yaxis()
    handles = [
        Line2D([], [], linestyle="", marker="o", color=_GREY, label="as printed"),
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            color=_GREY,
            markerfacecolor="white",
            label="with correct class weights: 2 x Acc-2 - F1",
        ),
        Line2D([], [], linestyle=":", color=_GREY, label="best quoted system"),
    ]
    _legend_below(figure, handles, 3)
    figure.tight_layout()
    own = table[table["model"] == "Ours"]
    words = "; ".join(
        f"{row.dataset} {row.variant.capitalize()} {row.f1:.1f} becomes "
        f"{row.mirrored:.1f}"
        for row in own.itertuples()
    )
    alt = (
        "Dot plots of F1 in MFMB-Net's Table 4. The own model is shown as printed and "
        f"with correct class weights: {words}. After that it is behind the best quoted "
        "system in all four panels."
    )
    caption = "MFMB-Net Table 4: areas over missing rates. Quoted systems as printed."
    return _finished(figure, "audit-one-definition", alt, caption)


def derived_scores(look: Look) -> Drawing:
    """Distance to MIT-FRNet in the weighted average over missing rates."""
    table = papers.derived_scores()
    table = table[table["table"].isin(_SWEEPS)]
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.4))
    ahead = {}
    for axis, (title, group) in zip(
        axes, table.groupby("table", sort=False), strict=True
    ):
        dataset = group["dataset"].iloc[0]
        wide = group.assign(
            name=[
                _metric(*n) for n in zip(group["metric"], group["variant"], strict=True)
            ]
        ).pivot(index="name", columns="model", values="mwa_10")
        names = list(
            dict.fromkeys(
                _metric(m, v)
                for m, v in zip(group["metric"], group["variant"], strict=True)
            )
        )
        signs = np.array([1 if higher_is_better(n) else -1 for n in names])
        wide = wide.loc[names]
        axis.axvline(0, color=look("MIT-FRNet").colour, linewidth=2)
        for model in _MIT_MODELS[:-1]:
            style = look(model)
            distance = (wide[model] - wide["Ours"]) * signs
            axis.plot(
                distance,
                range(len(names)),
                style.marker,
                color=style.colour,
                linestyle="",
                markersize=8,
            )
        best = (wide.drop(columns="Ours").mul(signs, axis=0)).max(axis=1)
        ahead[dataset] = (int((wide["Ours"] * signs > best).sum()), len(names))
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        axis.set_title(f"{dataset} ({title})")
        axis.set_xlabel("MWA minus that of MIT-FRNet (points, right is better)")
    handles = [_point(look, m, m) for m in _MIT_MODELS[:-1]]
    handles.append(Line2D([], [], color=look("MIT-FRNet").colour, label="MIT-FRNet"))
    _legend_below(figure, handles, 5)
    figure.tight_layout()
    alt = (
        "Dot plots of the weighted average over missing rates of four systems, as "
        "distance to MIT-FRNet, by metric. MIT-FRNet is best in "
        f"{ahead['MOSI'][0]} of {ahead['MOSI'][1]} metrics on MOSI and in "
        f"{ahead['SIMS'][0]} of {ahead['SIMS'][1]} on CH-SIMS."
    )
    caption = (
        "MWA with divisor 10, recomputed from MIT-FRNet Tables 4 and 5; MAE and Corr "
        "times 100 as printed, MAE turned so that right is better. MISA has no MWA of "
        "Corr on CH-SIMS: two of its values are undefined."
    )
    return _finished(figure, "audit-derived", alt, caption)


def arrows(look: Look) -> Drawing:
    """Arrows of the ablation table against the signs of the differences."""
    del look  # systems are panels here
    table = papers.arrow_signs()
    models = list(_ABLATIONS)
    metrics = list(dict.fromkeys(zip(table["metric"], table["variant"], strict=True)))
    rates = sorted(table["rate"].unique())
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 5.6), sharey=True)
    shades = {
        "fits": "#FFFFFF",
        "fits one reading": "#CFE3F2",
        "contradicts": _WARN,
        "equal or undefined": "#D9D9D9",
    }
    counts = {}
    for axis, model in zip(axes, models, strict=True):
        for row in table[table["model"] == model].itertuples():
            x = metrics.index((row.metric, row.variant))
            y = rates.index(row.rate)
            kind = _arrow_kind(row)
            counts[kind] = counts.get(kind, 0) + 1
            axis.add_patch(
                plt.Rectangle(
                    (x - 0.5, y - 0.5), 1, 1, facecolor=shades[kind], edgecolor="white"
                )
            )
            text = "\u2191" if row.arrow == "up" else "\u2193"
            bold = kind == "contradicts"
            axis.text(
                x,
                y,
                f"{text} {row.difference:+.2f}".replace("+nan", "–"),
                ha="center",
                va="center",
                fontsize=7.5,
                color="black",
                fontweight="bold" if bold else "normal",
            )
        axis.set_xlim(-0.5, len(metrics) - 0.5)
        axis.set_ylim(len(rates) - 0.5, -0.5)
        axis.set_xticks(
            range(len(metrics)),
            [_metric(*m).replace(" ", "\n") for m in metrics],
            fontsize=9,
        )
        axis.set_yticks(range(len(rates)), [f"{rate:.1f}" for rate in rates])
        axis.grid(visible=False)
        axis.set_title(_ABLATIONS[model])
        axis.set_xlabel("metric")
    axes[0].set_ylabel("missing rate")
    edge = {"edgecolor": "#AAAAAA"}
    handles = [Patch(facecolor=c, label=name, **edge) for name, c in shades.items()]
    _legend_below(figure, handles, 4)
    figure.tight_layout()
    alt = (
        "Two grids of missing rate by metric with the printed arrow and the difference "
        "to the full model. "
        + ", ".join(f"{kind}: {count}" for kind, count in counts.items())
        + f" of {len(table)} arrows."
    )
    caption = (
        "MIT-FRNet Table 7 (ablation) against its Table 4 (full model), MOSI. Numbers: "
        "ablation minus full model, as printed. 'Fits one reading': on MAE, up can "
        "mean a larger number or a better result."
    )
    return _finished(figure, "audit-arrows", alt, caption)


def _arrow_kind(row: object) -> str:
    if np.isnan(row.difference) or row.difference == 0:
        return "equal or undefined"
    if row.value_fits and row.quality_fits:
        return "fits"
    return "fits one reading" if row.value_fits or row.quality_fits else "contradicts"


def noise(look: Look) -> Drawing:
    """Differences of two rows of one system beside the claimed gains."""
    floors = papers.noise()
    sets = (
        (
            "w/o MITR minus TFR-Net: one system twice",
            papers.twin_differences(),
            "TFR-Net",
        ),
        ("MIT-FRNet minus TFR-Net: the gain", papers.gains_over_twin(), "MIT-FRNet"),
    )
    figure, axis = plt.subplots(figsize=(9.5, 4.8))
    for place, floor in enumerate(floors.itertuples()):
        width = SIGNIFICANT * floor.floor
        axis.add_patch(
            plt.Rectangle(
                (place - 0.42, -width), 0.84, 2 * width, color=_BAND, zorder=0
            )
        )
        for shift, (_, table, system) in zip((-0.2, 0.2), sets, strict=True):
            rows = table[
                (table["metric"] == floor.metric) & (table["variant"] == floor.variant)
            ]
            style = look(system)
            spread = 0.2 * (rows["rate"] - 0.5)
            axis.plot(
                place + shift + spread,
                rows["difference"],
                style.marker,
                linestyle="",
                color=style.colour,
                markersize=5,
                markerfacecolor="white" if system == "TFR-Net" else style.colour,
            )
    axis.axhline(0, color=_GREY, linewidth=0.8)
    names = [_metric(row.metric, row.variant) for row in floors.itertuples()]
    axis.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
    axis.set_ylabel("difference in points, up is better\n(MAE and Corr times 100)")
    axis.set_xlabel(
        "metric; within a column, missing rate 0.0 to 1.0 from left to right"
    )
    axis.grid(visible=False, axis="x")
    handles = [
        _point(look, system, text, markerfacecolor="white")
        if system == "TFR-Net"
        else _point(look, system, text)
        for text, _, system in sets
    ]
    handles.append(Patch(color=_BAND, label="± 1.96 root mean square of the former"))
    _legend_below(figure, handles, 1)
    figure.tight_layout()
    twins, gains = papers.twin_differences(), papers.gains_over_twin()
    alt = (
        "For each of eight metrics, differences between two printed rows of one system "
        "and gains of MIT-FRNet over TFR-Net at eleven missing rates. The former "
        f"scatter around zero ({int((twins['difference'] > 0).sum())} of {len(twins)} "
        f"above), the gains are above zero in {int((gains['difference'] > 0).sum())} "
        f"of {len(gains)} cells, most of them inside the band of the former."
    )
    caption = (
        "MIT-FRNet Tables 4 and 7, MOSI; every point is a difference of two printed "
        "means over three runs."
    )
    return _finished(figure, "audit-noise-floor", alt, caption)


def class_shares(look: Look) -> Drawing:
    """Classes of every split, with counts, printed and from the labels."""
    del look  # no systems here
    table = papers.class_table()
    colours = {"negative": "#D55E00", "neutral": "#BBBBBB", "positive": "#0072B2"}
    hatches = {"negative": "//", "neutral": "", "positive": ""}
    figure, axis = plt.subplots(figsize=(9, 4.4))
    for place, row in enumerate(table.itertuples()):
        start = 0.0
        for name, colour in colours.items():
            count = getattr(row, name)
            width = 100 * count / row.clips
            axis.barh(
                place,
                width,
                left=start,
                color=colour,
                hatch=hatches[name],
                edgecolor="white",
                height=0.78,
            )
            axis.text(
                start + width / 2,
                place,
                str(count),
                ha="center",
                va="center",
                fontsize=9,
                bbox={"facecolor": "white", "alpha": 0.85, "pad": 1.2, "lw": 0},
            )
            start += width
    names = [f"{row.dataset} {row.split}" for row in table.itertuples()]
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.grid(visible=False)
    axis.set_xlabel("share of clips (%)")
    handles = [
        Patch(
            facecolor=colours[name], hatch=hatches[name], edgecolor="white", label=name
        )
        for name in colours
    ]
    _legend_below(figure, handles, 3)
    test = table[table["split"] == "test"].set_index("dataset")
    train = table[table["split"] == "train"].set_index("dataset")
    alt = (
        "Stacked bars of negative, neutral and positive clips by data set and split. "
        "On MOSI the train split has more positive clips "
        f"({train.loc['MOSI', 'positive']} against {train.loc['MOSI', 'negative']}), "
        f"the test split more negative ones ({test.loc['MOSI', 'negative']} against "
        f"{test.loc['MOSI', 'positive']})."
    )
    caption = (
        "Counts from the labels; every count that the papers print (MFMB-Net Table 1, "
        "MIT-FRNet Table 2) is the same."
    )
    return _finished(figure, "audit-classes", alt, caption)
