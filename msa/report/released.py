"""Paper against released code: what differs, and what each difference changes."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from msa.models.differences import ALL, RELEASED_MODELS, changes, differences
from msa.report.compare import NOT_RUN
from msa.report.figures import closed_picture
from msa.report.labels import (
    MISSING,
    NoResults,
    axis_label,
    describe,
    of_metric,
    printed,
    shown,
    slug,
    span,
)
from msa.report.run_tables import commands_of
from msa.report.style import Picture, house_style, system_style
from msa.report.tables import Table, no_marks
from msa.study.grids import study
from msa.study.layout import matching
from msa.study.results import load_runs
from msa.study.switches import load_switches
from msa.train.metrics import METRICS

NO_PAIR = "no pair yet"
"""What a comparison says until both variants were run with a common seed."""


def rates_of(text: str) -> list[float]:
    """Read the missing rates of the comparison, with spaces between them.

    Raises
    ------
    NoResults
        If there is no rate in the text, or one at which no variants are compared.
    """
    there = sorted(_stored()["missing_rate"].unique())
    try:
        rates = [float(rate) for rate in text.split()]
    except ValueError:
        rates = []
    if not rates or (there and not set(rates) <= set(there)):
        known = " ".join(f"{rate:.1f}" for rate in there)
        raise NoResults(f"{text!r}: variants are compared at the missing rates {known}")
    return rates


def differences_table(model: str) -> Table:
    """List what the released code of a model does otherwise, and the switch for it."""
    rows = [
        {
            "Difference": each.name,
            "In the paper": each.source,
            "The paper": each.paper,
            "The released code": each.released,
            "Switch": ", ".join(f"{k}={_json(v)}" for k, v in each.switch.items()),
        }
        for each in differences(model)
    ]
    caption = (
        f"{model}: where the released code differs from the equations. A switch alone: "
        "--variant paper --set NAME=VALUE; all of them: --variant released."
    )
    return Table.plain(pd.DataFrame(rows), f"differences-{slug(model)}", caption)


def effects_table(model: str, metric: str, rates: Sequence[float]) -> Table:
    """Tabulate what each change of a model does to a metric.

    Parameters
    ----------
    model : str
    metric : str
        Metric key.
    rates : sequence of float
        Missing rates, one column each.

    Returns
    -------
    Table
        A row per change, the bundle first; cells are the mean paired difference to the
        paper variant with its interval and the number of seeds.
    """
    found = _effects(model, metric)
    rows = []
    for change in changes(model):
        row = {"Change": change}
        for rate in rates:
            cell = found[(found["change"] == change) & (found["missing_rate"] == rate)]
            row[f"rate {rate:.1f}"] = _effect(metric, cell)
        rows.append(row)
    cells = pd.DataFrame(rows)
    marks = no_marks(cells)
    runs = _runs_of(found)
    commands = {
        i: commands_of(_runs_of(found[found["change"] == change]))
        for i, change in enumerate(changes(model))
    }
    direction = "higher" if METRICS[metric].higher_is_better else "lower"
    caption = (
        f"{model}: {axis_label(metric)} with a change minus the paper variant's, "
        f"paired over seeds and clips, 95 % interval, n seeds; {direction} is better. "
        f"{_where(runs, found)}"
    )
    name = f"released-{slug(model)}-{metric.lower()}"
    return Table(name, caption, cells, marks, found, commands)


def variants_table(metrics: Sequence[str], rates: Sequence[float]) -> Table:
    """Put the paper and the released variant of every system side by side."""
    stored = _stored()
    stored = stored[stored["change"] == ALL]
    rows = []
    for rate in rates:
        for model in RELEASED_MODELS:
            own = stored[(stored["model"] == model) & (stored["missing_rate"] == rate)]
            row = {"Rate": f"{rate:.1f}", "System": model}
            for metric in metrics:
                cell = own[own["metric"] == metric]
                both = [
                    printed(metric, float(cell[c].iloc[0])) if len(cell) else NO_PAIR
                    for c in ("paper", "released")
                ]
                row[f"{axis_label(metric)}, paper"] = both[0]
                row[f"{axis_label(metric)}, released"] = both[1]
                row[f"{axis_label(metric)}, difference"] = (
                    _effect(metric, cell) if len(cell) else NO_PAIR
                )
            rows.append(row)
    cells = pd.DataFrame(rows)
    runs = _runs_of(stored)
    caption = (
        "Paper and released variants: means over the seeds that both have, and the "
        f'paired difference with its 95 % interval; "{NO_PAIR}": one of the two '
        f"was not run with a common seed. {_where(runs, stored)}"
    )
    marks = no_marks(cells)
    return Table("paper-and-released", caption, cells, marks, stored)


def effects_figure(metric: str) -> Picture:
    """Draw every measured change as a dot with its interval, a panel per system."""
    with house_style():
        figure, axes = plt.subplots(
            1,
            len(RELEASED_MODELS),
            figsize=(11, 5.2),
            sharex=True,
            layout="constrained",
        )
        words = []
        for axis, model in zip(axes, RELEASED_MODELS, strict=True):
            found = _effects(model, metric)
            names = list(changes(model))
            _effect_panel(axis, found, names, metric, model)
            words.append(_in_words(found, metric, model))
        entries = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
        if entries:
            figure.legend(
                list(entries.values()),
                list(entries),
                loc="outside lower center",
                ncols=len(entries),
            )
        stored = _stored()
        caption = (
            f"Change of {axis_label(metric)} by each difference, paired with the paper "
            f"variant, 95 % intervals. {_where(_runs_of(stored), stored)}"
        )
        name = f"released-effects-{metric.lower()}"
        return closed_picture(figure, name, " ".join(words), caption)


def summary_sentence(metric: str) -> str:
    """Say in one sentence what the bundles change."""
    parts = [_in_words(_effects(m, metric), metric, m) for m in RELEASED_MODELS]
    return " ".join(parts)


def _effect_panel(
    axis: Axes, found: pd.DataFrame, names: list[str], metric: str, model: str
) -> None:
    shades = {0.0: 0.35, 0.5: 0.65, 1.0: 1.0}
    markers = {0.0: "o", 0.5: "s", 1.0: "^"}
    colour = system_style(model).colour
    for shift, rate in zip((-0.22, 0.0, 0.22), shades, strict=True):
        own = found[found["missing_rate"] == rate]
        places = own["change"].map(names.index) + shift
        values = shown(metric, own["difference"])
        spread = np.abs(
            np.stack([shown(metric, own["lo"]), shown(metric, own["hi"])])
            - values.to_numpy()
        )
        axis.errorbar(
            values,
            places,
            xerr=spread,
            fmt=markers[rate],
            color=colour,
            alpha=shades[rate],
            markersize=5,
            linewidth=1.2,
            label=f"rate {rate:.1f}",
        )
    axis.axvline(0, color="#444444", linewidth=1)
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_title(model, fontsize=11)
    axis.set_xlabel(f"change of {axis_label(metric)}")


def _in_words(found: pd.DataFrame, metric: str, model: str) -> str:
    bundle = found[found["change"] == ALL].sort_values("missing_rate")
    if bundle.empty:
        return f"{model} as released: {NOT_RUN}."
    parts = [
        f"{_signed(metric, row.difference)} [{_signed(metric, row.lo)}, "
        f"{_signed(metric, row.hi)}] at rate {row.missing_rate:.1f} (n = {row.n})"
        for row in bundle.itertuples()
    ]
    return (
        f"{model} as released against its paper variant, {METRICS[metric].name}: "
        f"{'; '.join(parts)}."
    )


def _place() -> dict[str, str]:
    """Return the data set, view and encoder that the study of the changes has."""
    config = study("mosi-released").configs[0]
    return {name: getattr(config, name) for name in ("dataset", "view", "encoder")}


def _stored() -> pd.DataFrame:
    """Return the stored differences of that place; others may be stored beside them."""
    return matching(load_switches(), _place())


def _effects(model: str, metric: str) -> pd.DataFrame:
    stored = _stored()
    return of_metric(stored[stored["model"] == model], metric)


def _runs_of(found: pd.DataFrame) -> pd.DataFrame:
    wanted = {run for row in found["runs"].dropna() for run in str(row).split()}
    runs = load_runs()
    return runs[runs["run_id"].isin(wanted)]


def _where(runs: pd.DataFrame, found: pd.DataFrame) -> str:
    if runs.empty:
        return f"Nothing of it is stored yet: {NOT_RUN}."
    rates = span(sorted(found["missing_rate"].unique()))
    everything = _stored()["clips"].max()
    fewer = found[found["clips"] < everything]
    left_out = "".join(
        f" {model}, {change}: on the {clips:.0f} of {everything:.0f} clips that the "
        "released code does not drop with its last batch."
        for (model, change), clips in fewer.groupby(["model", "change"])["clips"]
        .min()
        .items()
    )
    return f"{describe(runs)} Compared at {rates}.{left_out}"


def _effect(metric: str, cell: pd.DataFrame) -> str:
    if cell.empty:
        return NOT_RUN
    row = cell.iloc[0]
    if np.isnan(row["difference"]):
        return MISSING
    return (
        f"{_signed(metric, row['difference'])} [{_signed(metric, row['lo'])}, "
        f"{_signed(metric, row['hi'])}], n = {int(row['n'])}"
    )


def _signed(metric: str, value: float) -> str:
    text = printed(metric, value)
    return text if text.startswith("-") or text == MISSING else f"+{text}"


def _json(value: object) -> str:
    return str(value).lower()
