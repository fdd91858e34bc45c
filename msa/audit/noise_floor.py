"""Check 7: how large the run-to-run scatter is, and whether gains exceed it.

By the released code, MIT-FRNet without its similarity term is TFR-Net. Table 4 prints
TFR-Net and Table 7 MIT-FRNet without the similarity term (MITR), each a mean over three
runs at the same rates on the same data: their differences show how far two printed rows
of one and the same system lie apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binom, chi2, f, norm

from msa.audit.findings import PLACE, findings, place
from msa.audit.labels import Labels
from msa.audit.tidy import higher_is_better
from msa.data.published import SCORES


class Row(NamedTuple):
    """A model's row in a table of a paper."""

    paper: str
    table: str
    model: str


TWINS = (
    Row("MIT-FRNet", "Table 4", "TFR-Net"),
    Row("MIT-FRNet", "Table 7", "MIT-FRNet (ablation MITR)"),
)
"""Two rows of one system, by the released code."""

FULL_MODEL = "Ours"
FULL = Row("MIT-FRNet", "Table 4", FULL_MODEL)
"""The full model that is compared with the first of the twins."""

_COLUMN = ["dataset", "metric", "variant"]
SIGNIFICANT = float(norm.ppf(0.975))
"""Standard deviations that a difference of chance exceeds in 5 % of cases."""

_AREA_WEIGHTS = np.array([0.05, *[0.1] * 9, 0.05])


def row_differences(cells: pd.DataFrame, first: Row, second: Row) -> pd.DataFrame:
    """Subtract one printed row from another, cell by cell.

    Returns
    -------
    DataFrame
        Columns ``dataset, metric, variant, rate, difference``: second minus first, in
        printed units, turned so that positive means better. Undefined pairs are left
        out.
    """

    def values(row: Row) -> pd.DataFrame:
        same = (cells["paper"] == row.paper) & (cells["table"] == row.table)
        return cells[same & (cells["model"] == row.model)]

    pairs = values(first).merge(
        values(second), on=[*_COLUMN, "rate"], suffixes=("_first", "_second")
    )
    sign = pairs["metric"].map(lambda m: 1.0 if higher_is_better(m) else -1.0)
    change = (pairs["value_second"] - pairs["value_first"]) * sign
    table = pairs[[*_COLUMN, "rate"]].assign(difference=change.round(6))
    return table.dropna(subset=["difference"]).reset_index(drop=True)


def noise_floor(cells: pd.DataFrame) -> pd.DataFrame:
    """Estimate per metric how far two printed rows of one system lie apart.

    Returns
    -------
    DataFrame
        Columns ``dataset, metric, variant, pairs, floor, low, high, area_floor``.
        ``floor`` is the root mean square of the differences between the twin rows, in
        printed units: the standard deviation of a difference of two printed means.
        ``low`` and ``high`` bound it with 95 % confidence (normal differences,
        chi-squared). ``area_floor`` is that of a difference of two areas over rates, if
        the eleven rates scatter independently. Empty if a twin row is missing.
    """
    rows = []
    twins = row_differences(cells, *TWINS)
    for key, group in twins.groupby(_COLUMN, sort=False):
        squares, n = float((group["difference"] ** 2).sum()), len(group)
        low, high = np.sqrt(squares / chi2.ppf([0.975, 0.025], n))
        floor = float(np.sqrt(squares / n))
        rows.append(
            dict(zip(_COLUMN, key, strict=True))
            | {
                "pairs": n,
                "floor": floor,
                "low": float(low),
                "high": float(high),
                "area_floor": floor * float(np.sqrt((_AREA_WEIGHTS**2).sum())),
            }
        )
    names = [*_COLUMN, "pairs", "floor", "low", "high", "area_floor"]
    return pd.DataFrame(rows, columns=names)


def claimed_gains(cells: pd.DataFrame) -> pd.DataFrame:
    """Set the gains of the papers' own models beside the noise floor.

    Returns
    -------
    DataFrame
        One row per printed cell of a full model, in tables with rivals on a data set
        that has a noise floor: ``paper, table, dataset, model, metric, variant, rate,
        printed``, ``rival`` (the best other row), ``gain`` (over it, positive is
        better), ``floor`` (in the same units; of an area where the cell is one) and
        ``exceeds`` (the gain is larger than 1.96 times the floor).
    """
    floors = noise_floor(cells)
    own = cells[(cells["model"] == FULL_MODEL) & cells["value"].notna()]
    # The floor is in the units of the paper it comes from.
    units = cells[cells["paper"] == TWINS[0].paper].groupby("metric")["factor"].first()
    rows = []
    for cell in own.merge(floors, on=_COLUMN).itertuples():
        same = cells[
            (cells["paper"] == cell.paper)
            & (cells["table"] == cell.table)
            & (cells["dataset"] == cell.dataset)
            & (cells["metric"] == cell.metric)
            & (cells["variant"] == cell.variant)
            & ((cells["rate"] == cell.rate) | (np.isnan(cell.rate)))
            & (cells["model"] != FULL_MODEL)
            & cells["value"].notna()
        ]
        if same.empty:
            continue
        sign = 1.0 if higher_is_better(cell.metric) else -1.0
        best = same.loc[(same["value"] * sign).idxmax()]
        floor = cell.area_floor if cell.aggregate == "auilc" else cell.floor
        floor *= cell.factor / units[cell.metric]
        gain = round((cell.value - best["value"]) * sign, 6)
        rows.append(
            place(cell)
            | {
                "rival": best["model"],
                "gain": gain,
                "floor": floor,
                "exceeds": gain > SIGNIFICANT * floor,
            }
        )
    return pd.DataFrame(rows, columns=[*PLACE, "rival", "gain", "floor", "exceeds"])


def wins(cells: pd.DataFrame) -> pd.DataFrame:
    """Count how often each full model is the best of its table.

    Returns
    -------
    DataFrame
        Columns ``paper, table, dataset, cells, systems, wins, expected_wins,
        p_value``: cells of the full model, systems compared, cells in which it is
        strictly best, the wins that each of equally good systems would have, and the
        chance of at least as many if all cells were independent (they are not: the
        metrics of a row come from the same predictions).
    """
    rows = []
    shown = cells[cells["metric"].isin(SCORES) & cells["value"].notna()]
    keys = ["paper", "table", "dataset"]
    for key, table in shown.groupby(keys, sort=False):
        if FULL_MODEL not in set(table["model"]):
            continue
        sign = table["metric"].map(lambda m: 1.0 if higher_is_better(m) else -1.0)
        wide = table.assign(value=table["value"] * sign).set_index(
            ["metric", "variant", "rate", "model"]
        )["value"]
        wide = wide.unstack("model").dropna(subset=[FULL_MODEL])
        others = wide.drop(columns=FULL_MODEL)
        chances = 1 / (1 + others.notna().sum(axis=1))
        won = int((wide[FULL_MODEL] > others.max(axis=1)).sum())
        rows.append(
            dict(zip(keys, key, strict=True))
            | {
                "cells": len(wide),
                "systems": wide.shape[1],
                "wins": won,
                "expected_wins": float(chances.sum()),
                "p_value": float(binom.sf(won - 1, len(wide), chances.mean())),
            }
        )
    return pd.DataFrame(rows)


def steadiness(cells: pd.DataFrame) -> pd.DataFrame:
    """Compare the gains over the twin system with the floor, metric by metric.

    Returns
    -------
    DataFrame
        One row per metric: ``dataset, metric, variant, rates, mean_gain, gain_sd,
        floor, wins``, ``win_chance`` (of one rate, if gains scatter with the floor
        around their mean), ``p_wins`` (at least as many wins by that) and ``p_sd`` (a
        scatter of the gains as small as this one, F test against the floor).
    """
    gains = row_differences(cells, TWINS[0], FULL)
    rows = []
    for floor in noise_floor(cells).itertuples():
        same = (gains["dataset"] == floor.dataset) & (gains["metric"] == floor.metric)
        values = gains.loc[same & (gains["variant"] == floor.variant), "difference"]
        n, mean, sd = len(values), values.mean(), values.std(ddof=1)
        chance = float(norm.cdf(mean / floor.floor))
        won = int((values > 0).sum())
        rows.append(
            {name: getattr(floor, name) for name in _COLUMN}
            | {
                "rates": n,
                "mean_gain": float(mean),
                "gain_sd": float(sd),
                "floor": floor.floor,
                "wins": won,
                "win_chance": chance,
                "p_wins": float(binom.sf(won - 1, n, chance)),
                "p_sd": float(f.cdf((sd / floor.floor) ** 2, n - 1, floor.pairs)),
            }
        )
    return pd.DataFrame(rows)


def noise(cells: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Judge claimed gains by the noise floor.

    Parameters
    ----------
    cells : DataFrame
        A table from :func:`msa.audit.tidy.prepare`.
    labels : dict
        Not used: the floor follows from the printed numbers alone.

    Returns
    -------
    DataFrame
        One finding per gain of a full model over the best other row: ``ok`` if it is
        larger than 1.96 times the floor or not positive at all, else a note. Nothing if
        the table does not hold the twin rows.
    """
    rows = []
    for gain in claimed_gains(cells).itertuples():
        small = gain.gain > 0 and not gain.exceeds
        rows.append(
            place(gain)
            | {
                "verdict": "note" if small else "ok",
                "explanation": f"{gain.gain:+.3g} against {gain.rival}; two rows of "
                f"one system differ by {gain.floor:.2g} (root mean square)"
                + ("; the gain is within that scatter" if small else ""),
            }
        )
    return findings("noise-floor", rows)
