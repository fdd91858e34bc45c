"""Missing-rate curves to choose from: data set and metric, with values on hover.

The page carries the numbers as JSON and draws them with ``msa-curves.js``; without
scripts, and in print, it shows the static picture instead.
"""

from __future__ import annotations

import base64
import html
import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from msa.report.figures import rate_curves
from msa.report.labels import (
    axis_label,
    decimals_of,
    describe,
    select,
    short_label,
    shown,
    system_name,
    systems_of,
)
from msa.report.style import Picture, system_style
from msa.train.metrics import METRICS

PLACE = ["dataset", "view", "encoder", "encoder_mode"]


@dataclass(frozen=True)
class Explorer:
    """Curves of several data sets and metrics in one figure.

    Attributes
    ----------
    content : dict
        What is drawn: ``{"places": [{"label", "caption", "metrics": [{"key", "name",
        "better", "decimals", "systems": [{"name", "colour", "dashed", "points"}]}]}]}``
        with points ``[rate, mean, lo, hi, n]`` in the units that readers see.
    picture : Picture
        The static figure: the first data set, the one run at most rates, and the
        first metric.
    """

    content: dict[str, Any]
    picture: Picture

    @classmethod
    def of(cls, summary: pd.DataFrame, runs: pd.DataFrame, metric: str) -> Explorer:
        """Make the figure from published results.

        Parameters
        ----------
        summary : DataFrame
            ``dataset, view, encoder, encoder_mode, model, variant, missing_rate,
            metric, n, mean, lo, hi``; any number of data sets.
        runs : DataFrame
            The runs behind it.
        metric : str
            Metric that is shown first.

        Raises
        ------
        NoResults
            If no data set has this metric.
        """
        select(summary, metric=metric)
        parts = [
            (part, select(runs, **dict(zip(PLACE, key, strict=True))))
            for key, part in summary.groupby(PLACE)
        ]
        parts.sort(key=lambda both: -both[0]["missing_rate"].nunique())
        places = [_place(*both, metric) for both in parts]
        first = next(part for part in parts if metric in set(part[0]["metric"]))
        picture = rate_curves(*first, [metric], "explorer")
        return cls({"places": places}, picture)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        # Inside a script element only this sequence could end it early.
        numbers = json.dumps(self.content, ensure_ascii=False).replace("</", "<\\/")
        static = base64.b64encode(self.picture.svg).decode("ascii")
        page = (
            '<figure class="msa-figure msa-explorer">'
            f'<script type="application/json">{numbers}</script>'
            f'<img src="data:image/svg+xml;base64,{static}" '
            f'alt="{html.escape(self.picture.alt)}">'
            f"<figcaption>{html.escape(self.picture.caption)}</figcaption></figure>"
        )
        return {
            "text/html": page,
            "image/png": base64.b64encode(self.picture.png).decode("ascii"),
            "text/plain": f"{self.picture.alt}\n{self.picture.caption}",
        }


def _place(summary: pd.DataFrame, runs: pd.DataFrame, first: str) -> dict[str, Any]:
    there = set(summary["metric"])
    keys = [key for key in METRICS if key in there]
    keys.sort(key=lambda key: key != first)
    encoders = " and ".join(sorted(set(runs["encoder"] + " " + runs["encoder_mode"])))
    return {
        "label": f"{short_label(runs)}, {encoders}",
        "caption": f"Means over seeds with 95 % intervals. {describe(runs)}",
        "metrics": [_metric(summary, key) for key in keys],
    }


def _metric(summary: pd.DataFrame, key: str) -> dict[str, Any]:
    own = summary[summary["metric"] == key].dropna(subset="mean")
    return {
        "key": key,
        "name": axis_label(key),
        "better": "higher" if METRICS[key].higher_is_better else "lower",
        "decimals": decimals_of(key),
        "systems": [_system(own, key, *system) for system in systems_of(own)],
    }


def _system(own: pd.DataFrame, key: str, model: str, variant: str) -> dict[str, Any]:
    mine = own[(own["model"] == model) & (own["variant"] == variant)]
    style = system_style(model, variant)
    places = decimals_of(key) + 5  # so that the page rounds as the tables do
    points = [
        [
            float(row.missing_rate),
            *(round(shown(key, v), places) for v in (row.mean, row.lo, row.hi)),
            int(row.n),
        ]
        for row in mine.sort_values("missing_rate").itertuples(index=False, name="Row")
    ]
    return {
        "name": system_name(model, variant),
        "colour": style.colour,
        "dashed": style.line != "-",
        "points": points,
    }
