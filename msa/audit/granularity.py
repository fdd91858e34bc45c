"""Check 1: whether an accuracy can be a mean over k runs on n test samples.

A run on n samples scores c / n for a whole number c. The released code rounds MOSI and
MOSEI shares to four decimals in each run, averages k runs, multiplies by 100 and rounds
again. Only some printed values can come out of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.stats import false_discovery_control, fisher_exact, poisson_binom

from msa.audit.constants import equals_constant
from msa.audit.findings import findings, place
from msa.audit.labels import Labels
from msa.data.published import ACCURACIES

RUNS = (1, 2, 3, 4, 5)
NEIGHBOURHOOD = 0.5
"""Points on each side of a cell in which the share of attainable values is taken."""

NO_POWER = 0.95
"""From this local share on, nearly every printable value is attainable."""

_FIRST_RATE_WEIGHT = 0.05  # of the trapezoid rule in steps of 0.1
_SAFE = 1e-9  # ties in rounding count as attainable either way


@lru_cache(maxsize=256)
def attainable(
    samples: int, runs: int, decimals: int, run_decimals: int | None = None
) -> NDArray[np.bool_]:
    """Mark the printable percentages that a mean over runs can take.

    Parameters
    ----------
    samples : int
        Test samples ``n`` of one run.
    runs : int
        Number of runs ``k`` that are averaged.
    decimals : int
        Decimals of the printed percentage.
    run_decimals : int, optional
        Decimals to which the share of each run is rounded first; none when left out.

    Returns
    -------
    array of bool, shape (100 * 10**decimals + 1,)
        Index ``i`` stands for the printed value ``i / 10**decimals``.
    """
    if run_decimals is None:
        unit = runs * samples
        totals = np.arange(unit + 1)
    else:
        one_run = _rounded_shares(samples, 10**run_decimals)
        unit = runs * 10**run_decimals
        sums = one_run
        for _ in range(runs - 1):
            # Which sums occur: the product of two indicator polynomials.
            sums = fftconvolve(sums.astype(float), one_run.astype(float)) > 0.5
        totals = np.flatnonzero(sums)
    size = 100 * 10**decimals
    exact = totals * size / unit
    reached = np.zeros(size + 1, dtype=bool)
    reached[np.ceil(exact - 0.5 - _SAFE).astype(int).clip(0)] = True
    reached[np.floor(exact + 0.5 + _SAFE).astype(int).clip(max=size)] = True
    return reached


def _rounded_shares(samples: int, scale: int) -> NDArray[np.bool_]:
    """Mark ``round(c / samples, ...)`` for every count c, in units of 1 / scale."""
    exact = np.arange(samples + 1) * scale / samples
    reached = np.zeros(scale + 1, dtype=bool)
    reached[np.ceil(exact - 0.5 - _SAFE).astype(int)] = True
    reached[np.floor(exact + 0.5 + _SAFE).astype(int)] = True
    return reached


def granularity(cells: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Find accuracies that no mean over the stated number of runs can give.

    Parameters
    ----------
    cells : DataFrame
        A table from :func:`msa.audit.tidy.prepare`.
    labels : dict
        Labels of every data set.

    Returns
    -------
    DataFrame
        One finding per printed accuracy. Where the value is unattainable,
        ``expected_low`` and ``expected_high`` are the nearest attainable ones.
    """
    rows = []
    for cell in _accuracies(cells):
        reason = _no_grid(cell, labels) or _too_fine(cell, labels)
        if reason:
            rows.append(place(cell) | {"verdict": "no-power", "explanation": reason})
            continue
        samples = _samples(cell, labels)
        index = _index(cell)
        hits = [k for k in RUNS if _grid(cell, samples, k)[index]]
        grid = _grid(cell, samples, cell.runs)
        steps = 10**cell.decimals
        below = np.flatnonzero(grid[: index + 1])[-1] / steps
        above = (index + np.flatnonzero(grid[index:])[0]) / steps
        hit = bool(grid[index])
        reach = ", ".join(map(str, hits)) if hits else "none of 1 to 5"
        rows.append(
            place(cell)
            | {
                "expected_low": below,
                "expected_high": above,
                "verdict": "ok" if hit else "unattainable",
                "explanation": f"mean of {cell.runs} runs on {samples} samples; "
                f"numbers of runs that reach it: {reach}",
            }
        )
    return findings("granularity", rows)


def granularity_by_model(cells: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Compare attained with expected shares, per table and model, for k = 1..5.

    Cells that equal the score of a constant predictor are left out: any number of
    constant runs gives them. If digits fell at random, a cell would be attainable with
    the share of attainable values among all printable ones within `NEIGHBOURHOOD`
    points; the number of attained cells then follows a Poisson-binomial law.

    Returns
    -------
    DataFrame
        Columns ``paper, table, model, runs, cells, constant_cells, attained, share,
        expected_share, p_value, p_adjusted, p_fewer_than_rest``. ``p_value`` is the
        chance of at least as many attained cells if digits were random;
        ``p_adjusted`` controls the false discovery rate over all rows;
        ``p_fewer_than_rest`` is Fisher's exact test of fewer attained cells than in the
        other models of the same table. Groups without power have nan there.
    """
    constant = equals_constant(cells, labels)
    rows = []
    for (paper, table, model), group in cells.groupby(
        ["paper", "table", "model"], sort=False
    ):
        usable = [c for c in _accuracies(group) if not _no_grid(c, labels)]
        free = [c for c in usable if not constant[c.Index]]
        if not free:
            continue
        for runs in RUNS:
            grids = [_grid(c, _samples(c, labels), runs) for c in free]
            hits = [g[_index(c)] for g, c in zip(grids, free, strict=True)]
            chances = [_local(g, c) for g, c in zip(grids, free, strict=True)]
            powerless = np.mean(chances) > NO_POWER
            rows.append(
                {
                    "paper": paper,
                    "table": table,
                    "model": model,
                    "runs": runs,
                    "cells": len(free),
                    "constant_cells": len(usable) - len(free),
                    "attained": int(sum(hits)),
                    "share": float(np.mean(hits)),
                    "expected_share": float(np.mean(chances)),
                    "p_value": np.nan
                    if powerless
                    else float(poisson_binom.sf(sum(hits) - 1, chances)),
                }
            )
    summary = pd.DataFrame(rows)
    tested = summary["p_value"].notna()
    summary.loc[tested, "p_adjusted"] = false_discovery_control(
        summary.loc[tested, "p_value"].clip(0, 1)
    )
    summary["p_fewer_than_rest"] = _against_rest(summary)
    return summary


def _against_rest(summary: pd.DataFrame) -> list[float]:
    """Fisher's exact test of each row against the other models of its table."""
    values = []
    for row in summary.itertuples():
        same = (summary["paper"] == row.paper) & (summary["table"] == row.table)
        rest = summary[
            same & (summary["runs"] == row.runs) & (summary["model"] != row.model)
        ]
        if np.isnan(row.p_value) or rest.empty:
            values.append(np.nan)
            continue
        hits, size = rest["attained"].sum(), rest["cells"].sum()
        square = [[row.attained, row.cells - row.attained], [hits, size - hits]]
        values.append(float(fisher_exact(square, alternative="less").pvalue))
    return values


def _accuracies(cells: pd.DataFrame) -> Iterator:
    shown = cells[cells["metric"].isin(ACCURACIES) & cells["value"].notna()]
    yield from shown.itertuples()


def _no_grid(cell: object, labels: Labels) -> str:
    """Say why a cell has no grid of attainable values; empty if it has one."""
    if cell.dataset not in labels:
        return "no class counts are known for this data set"
    if cell.dropped and cell.variant == "non0":
        return (
            f"each run leaves out {cell.dropped} random samples, so its number of "
            "non-neutral ones varies and every printed value is attainable"
        )
    if cell.aggregate == "auilc":
        step = 100 * _FIRST_RATE_WEIGHT / (cell.runs * _samples(cell, labels))
        return (
            f"an area adds eleven means and moves in steps of {step:.4f} points, far "
            "finer than the printed digit"
        )
    return ""


def _too_fine(cell: object, labels: Labels) -> str:
    """Say that nearly every printable value is attainable; empty if not so."""
    samples = _samples(cell, labels)
    if _local(_grid(cell, samples, cell.runs), cell) <= NO_POWER:
        return ""
    step = 100 / (cell.runs * samples)
    return (
        f"a mean of {cell.runs} runs on {samples} samples moves in steps of "
        f"{step:.4f} points: every value with {cell.decimals} decimals is attainable"
    )


def _samples(cell: object, labels: Labels) -> int:
    truth = labels[cell.dataset]["test"]
    counted = truth[truth != 0] if cell.variant == "non0" else truth
    return len(counted) - cell.dropped


def _grid(cell: object, samples: int, runs: int) -> NDArray[np.bool_]:
    digits = None if np.isnan(cell.run_decimals) else int(cell.run_decimals)
    return attainable(samples, runs, cell.decimals, digits)


def _index(cell: object) -> int:
    return round(cell.value * 10**cell.decimals)


def _local(grid: NDArray[np.bool_], cell: object) -> float:
    """Share of attainable values among the printable ones around a cell."""
    width, index = round(NEIGHBOURHOOD * 10**cell.decimals), _index(cell)
    return float(grid[max(index - width, 0) : index + width + 1].mean())
