"""Runs per hour and the growth of their cost, from the published measurements."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.axes import Axes

from msa.bench.runner import (
    PACKED,
    SINGLE,
    USUAL,
    WAYS,
    exponents,
    load_growth,
    load_pace,
    power_law,
    speedups,
)
from msa.data.registry import source
from msa.report.costs import (
    by_session,
    commits,
    digits,
    not_measured,
    session_columns,
)
from msa.report.figures import closed_picture
from msa.report.style import Picture, house_style, system_order, system_style
from msa.report.tables import Table, no_marks

AXIS_LABELS = {
    "samples": "training samples",
    "steps": "steps in a sequence",
    "batch": "samples in a mini-batch",
    "runs": "runs in the grid",
}
"""What is varied, in words."""

MEASURE = {
    "pace": (
        "python -m msa bench runner --only pace --dataset mosi --save \\\n"
        "  --models MIT-FRNet TFR-Net --runs 6 --max-epochs 3"
    ),
    "growth": "python -m msa bench runner --only growth --save",
}
"""Commands that make the measurements of this page."""

GOALS = {"cpu": 1.8, "cuda": 8.0}
"""Runs per hour of the packed study over single runs that the project aims for."""

DASHES = ("-", "--", ":", "-.")
"""Lines of the devices of a picture, in their order."""


def pace_table() -> Table | Markdown:
    """Tabulate the ways to do a grid: seconds per run, runs per hour and ratios."""
    found = load_pace()
    if found.empty:
        return not_measured(MEASURE["pace"])
    found = by_session(found, speedups)
    order = {way: place for place, way in enumerate(WAYS)}
    found = found.sort_values(
        ["device", "way", "runs"], key=lambda c: c.map(order) if c.name == "way" else c
    ).reset_index(drop=True)
    seconds = found["seconds"] / found["runs"]
    cells = pd.DataFrame(
        {
            "Way": found["way"],
            "Device": found["device_name"],
            "Jobs": found["jobs"].astype(str),
            "Runs": found["runs"].astype(str),
            "Seconds per run": seconds.map(digits),
            "Runs per hour": found["runs_per_hour"].map(digits),
            "Times single": found["over_single"].map(digits),
            "Times sequential": found["over_sequential"].map(digits),
        }
    )
    cells = cells.join(session_columns(found).drop(columns="Device", errors="ignore"))
    whole = found[found["way"] != PACKED]  # packed is measured on parts of it too
    grids = (whole if len(whole) else found)[
        ["dataset", "models", "max_epochs", "missing_rate"]
    ]
    what = "; ".join(
        f"{row.models.replace(' ', ', ')} in turn on {source(row.dataset).title}, "
        f"missing rate {row.missing_rate:g}, at most {row.max_epochs} epochs"
        for row in grids.drop_duplicates().itertuples()
    )
    caption = (
        f"Wall time of a grid done in several ways: {what}. Seconds per run are wall "
        "time divided by runs. "
        + " ".join(
            f"{way.capitalize()}: {what.replace('`', '')}."
            for way, what in WAYS.items()
        )
        + " Grids of other lengths show how the time grows with the number of runs. "
        f"{commits(found)}"
    )
    return Table("pace", caption, cells, no_marks(cells), found)


def growth_picture() -> Picture | Markdown:
    """Draw seconds per epoch against what is varied, on logarithmic axes."""
    growth = load_growth()
    if growth.empty:
        return not_measured(MEASURE["growth"])
    axes_names = [axis for axis in USUAL if axis in set(growth["axis"])]
    models = system_order(growth["model"])
    devices = list(dict.fromkeys(growth["device_name"]))
    with house_style():
        figure, panels = plt.subplots(
            1,
            len(axes_names),
            figsize=(3.1 * len(axes_names), 3.6),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for panel, axis in zip(panels.flat, axes_names, strict=True):
            for model in models:
                own = growth[(growth["axis"] == axis) & (growth["model"] == model)]
                # Points of another machine or of other code are on another line.
                sessions = own.groupby(["device_name", "commit"], dropna=False)
                for (device, _), line in sessions:
                    label = f"{model}, {device}" if len(devices) > 1 else model
                    dash = DASHES[devices.index(device) % len(DASHES)]
                    _line(panel, line.sort_values("value"), model, label, dash)
            panel.set(xscale="log", yscale="log", xlabel=AXIS_LABELS[axis])
            values = sorted(growth.loc[growth["axis"] == axis, "value"].unique())
            panel.set_xticks(values, [f"{value:g}" for value in values])
            panel.minorticks_off()
        panels.flat[0].set_ylabel("seconds per epoch")
        handles, labels = panels.flat[0].get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True))
        figure.legend(
            named.values(),
            named.keys(),
            loc="outside lower center",
            ncols=min(len(named), 5),
        )
    caption = (
        "Seconds to train one epoch on random tensors as wide as CMU-MOSI's "
        "clip-context features, all sequences of full length, one thread. Where not "
        f"varied: {', '.join(f'{AXIS_LABELS[k]} {v}' for k, v in USUAL.items())}. "
        f"Lines are least-squares fits. {_devices(growth)} {commits(growth)}"
    )
    return closed_picture(figure, "growth", growth_in_words(), caption)


def exponent_table() -> Table | Markdown:
    """Tabulate the fitted exponents: 1 is proportional, 0 is free."""
    found = _fitted()
    if found.empty:
        return not_measured(MEASURE["growth"])
    cells = pd.DataFrame(
        {
            "Varied": found["axis"].map(AXIS_LABELS),
            "System": found["model"],
            "From": found["low"].map("{:g}".format),
            "To": found["high"].map("{:g}".format),
            "Exponent": found["exponent"].map("{:.2f}".format),
            "R²": found["r2"].map("{:.3f}".format),
        }
    ).join(session_columns(found))
    caption = (
        "How the time grows: the exponent of a power of what is varied, fitted to the "
        "logarithms of the seconds. 1: twice as much takes twice as long; 0: it costs "
        f"nothing. {_devices(found)}"
    )
    return Table("exponents", caption, cells, no_marks(cells), found)


def pace_in_words() -> str:
    """Say how much packing brings, beside what the project aims for."""
    found = load_pace()
    if found.empty:
        return "Runs per hour have not been measured yet."
    found = by_session(found, speedups)
    packed = found[(found["way"] == PACKED) & found["over_single"].notna()]
    if packed.empty:
        return f"The packed grid has no {SINGLE} runs beside it yet."
    words = []
    for row in packed.itertuples():
        goal = GOALS[row.device]
        verdict = "meets" if row.over_single >= goal else "misses"
        beside = ""
        if not math.isnan(row.over_sequential):
            beside = (
                f" and {row.over_sequential:.2f} times those of one lasting process"
            )
        words.append(
            f"on {row.device_name} ({row.jobs} jobs at once) a study does "
            f"{row.runs_per_hour:.0f} runs per hour of this grid, "
            f"{row.over_single:.2f} times those of single runs one after another"
            f"{beside}, which {verdict} the goal of {goal:g} over single runs that "
            "this project set itself"
        )
    text = "; ".join(words)
    return text[0].upper() + text[1:] + "."


def growth_in_words() -> str:
    """Say the fitted exponents of each axis over all systems."""
    found = _fitted()
    if found.empty:
        return "How the cost grows has not been measured yet."
    words = []
    for axis, own in found.groupby("axis", sort=False):
        low, high = own["exponent"].min(), own["exponent"].max()
        span = f"{low:.2f}" if len(own) == 1 else f"{low:.2f} to {high:.2f}"
        words.append(f"{AXIS_LABELS[axis]} {span}")
    return f"The time grows with these exponents: {'; '.join(words)}."


def batching_in_words() -> str:
    """Say what a mini-batch of twice the usual size saves, and what that bounds."""
    growth = load_growth()
    if growth.empty:
        return "Mini-batches of other sizes have not been measured yet."
    own = growth[growth["axis"] == "batch"]
    keys = ["device_name", "commit", "model"]
    seconds = own.pivot_table(index=keys, columns="value", values="seconds")
    one = USUAL["batch"]
    if not {one, 2 * one} <= set(seconds):
        return f"Mini-batches of {one} and {2 * one} have not been measured yet."
    gains = (seconds[one] / seconds[2 * one]).dropna()
    low, high = f"{gains.min():.2f}", f"{gains.max():.2f}"
    span = low if low == high else f"{low} to {high}"
    return (
        f"With mini-batches of {2 * one} for {one} samples an epoch is done {span} "
        f"times as fast ({', '.join(dict.fromkeys(own['device_name']))}). Two runs "
        "trained as one batched program have twice the samples in a step and weights "
        "of their own besides, so they cannot gain more: here runs are packed as "
        "processes, whose gain is in the table above."
    )


def _fitted() -> pd.DataFrame:
    """Fit how the cost grows to the measurements of every session on their own."""
    pace, growth = load_pace(), load_growth()

    def fit(own: pd.DataFrame) -> pd.DataFrame:
        is_pace = "way" in own
        law = exponents(own, growth[:0]) if is_pace else exponents(pace[:0], own)
        return law.assign(commit=own["commit"].iloc[0])

    found = [by_session(frame, fit) for frame in (pace, growth) if len(frame)]
    return pd.concat(found or [exponents(pace, growth)], ignore_index=True)


def _line(
    panel: Axes, own: pd.DataFrame, model: str, label: str, dash: str = "-"
) -> None:
    """Draw the points of a system in one session, and the power fitted to them."""
    look = system_style(model)
    panel.plot(
        own["value"], own["seconds"], look.marker, color=look.colour, label=label
    )
    if own["value"].nunique() >= 3:
        law = power_law(own["value"], own["seconds"])
        ends = np.array([own["value"].min(), own["value"].max()], dtype=float)
        fitted = law.factor * ends**law.exponent
        panel.plot(ends, fitted, dash, color=look.colour, alpha=0.6)


def _devices(found: pd.DataFrame) -> str:
    return f"Measured on {'; '.join(dict.fromkeys(found['device_name']))}."
