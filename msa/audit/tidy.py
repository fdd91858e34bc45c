"""The tidy form that every check reads, and how tables get into it.

A table to audit has one row per printed cell. Needed columns: ``paper, table, dataset,
model, metric, variant, rate, printed``. The others say how the number came about and
have defaults, see :func:`prepare`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from msa.audit.findings import PLACE
from msa.data.published import KEYS, PERCENT
from msa.train.metrics import METRICS

_DEFAULTS = {
    "setting": "",
    "split": "",
    "bold": None,
    "arrow": "",
    "runs": 3,
    "run_decimals": np.nan,
    "dropped": 0,
    "aggregate": "mean",
    "weighting": "",
}

BATCH = 24
"""Batch size of MFMB-Net, whose evaluation drops the last incomplete batch."""

_OWN_MODELS = ("Ours", "MFMB-Net", "w/o F-1", "w/o F-2", "w/o Recon")
_SETTINGS = ("dataset", "view", "encoder", "encoder_mode")
OF_RUNS = (*_SETTINGS, "model", "variant", "missing_rate", "seed")
"""Columns that a table of runs needs, besides scores."""

METRIC_NAMES = {
    **{k: (*name, "correct" if "F1" in k else "") for name, k in KEYS.items()},
    **{f"{k}_swapped": (*name, "swapped") for name, k in KEYS.items() if "F1" in k},
}
"""Metric key of this project to metric, variant and weighting of the tidy form."""


class RunsError(ValueError):
    """Runs that cannot be audited as they are given."""


def higher_is_better(metric: str) -> bool:
    """Tell the direction of a metric of the tidy form."""
    return metric not in ("MAE", "Running time (s)")


def prepare(table: pd.DataFrame) -> pd.DataFrame:
    """Check a table's form and add what every check needs.

    Parameters
    ----------
    table : DataFrame
        One row per printed cell, columns `PLACE`. Optional columns, with defaults:

        ``runs`` (3), ``run_decimals`` (none)
            Number of runs averaged, and the decimals to which each run's share was
            rounded before averaging.
        ``dropped`` (0)
            Test samples that each run leaves out at random.
        ``aggregate`` (``"mean"``)
            ``"auilc"`` if the cell is an area over missing rates.
        ``weighting`` (empty)
            ``"correct"`` or ``"swapped"`` if it is known how F1 weighs its classes.
        ``factor``
            Printed number over number in metric units; 100 for shares by default.
        ``setting, split, bold, arrow``
            As in :func:`msa.data.published.published`.

    Returns
    -------
    DataFrame
        A copy with every column above and ``value`` (nan for a dash), ``decimals``
        (printed digits of this metric in this table), ``half`` (half a unit of the last
        digit) and ``slack`` (the largest effect of rounding single runs), the last two
        in printed units.

    Raises
    ------
    ValueError
        If columns are missing or a printed value is neither a number nor a dash.
    """
    missing = [column for column in PLACE if column not in table]
    if missing:
        raise ValueError(
            f"the table to audit has no column {', '.join(missing)}; it has "
            f"{', '.join(map(str, table.columns))}"
        )
    cells = table.copy()
    for column, default in _DEFAULTS.items():
        if column not in cells:
            cells[column] = default
        elif not pd.isna(default):
            cells[column] = cells[column].fillna(default)
    cells[["model", "variant"]] = cells[["model", "variant"]].fillna("")
    cells[["runs", "dropped"]] = cells[["runs", "dropped"]].astype(int)
    cells["rate"] = pd.to_numeric(cells["rate"])
    cells["printed"] = cells["printed"].astype(str)
    cells["value"] = _numbers(cells["printed"])
    if "factor" not in cells:
        cells["factor"] = np.where(cells["metric"].isin(PERCENT), 100.0, 1.0)
    digits = cells["printed"].str.partition(".")[2].str.len()
    # A trailing zero gets lost ("82.5" among "82.52"): the table's digits count.
    cells["decimals"] = digits.groupby(
        [cells["paper"], cells["table"], cells["metric"]]
    ).transform("max")
    cells["half"] = 0.5 * 10.0 ** -cells["decimals"]
    run_half = 0.5 * 10.0 ** -cells["run_decimals"].astype(float)
    cells["slack"] = run_half.fillna(0.0) * cells["factor"]
    return cells.reset_index(drop=True)


def _numbers(printed: pd.Series) -> pd.Series:
    values = pd.to_numeric(printed, errors="coerce")
    wrong = printed[values.isna() & ~printed.isin(["-", "–", ""])]
    if len(wrong):
        raise ValueError(
            f"row {wrong.index[0]} of the table to audit prints {wrong.iloc[0]!r}, "
            "which is neither a number nor a dash"
        )
    return values


def with_code_paths(cells: pd.DataFrame) -> pd.DataFrame:
    """Add to the papers' cells how the released code makes such numbers.

    Every table is taken as a mean over three runs. MOSI and MOSEI shares are rounded to
    four decimals in each run, CH-SIMS shares are not. MFMB-Net evaluates its own models
    in full batches of 24 only; its Tables 4 and 5 print areas over missing rates.

    Parameters
    ----------
    cells : DataFrame
        As :func:`msa.data.published.published` returns it.
    """
    cells = cells.copy()
    mfmb = cells["paper"] == "MFMB-Net"
    # All of Table 2 was run by the authors; of the others only their own rows.
    own = mfmb & ((cells["table"] == "Table 2") | cells["model"].isin(_OWN_MODELS))
    test_counts = cells[mfmb & (cells["split"] == "test")]
    clips = test_counts.groupby("dataset")["value"].sum()
    left_over = cells["dataset"].map(clips).mod(BATCH).fillna(0).astype(int)
    cells["runs"] = 3
    cells["run_decimals"] = np.where(cells["dataset"] == "SIMS", np.nan, 4.0)
    cells["dropped"] = np.where(own, left_over, 0)
    areas = cells["setting"] == "incomplete (AUILC)"
    cells["aggregate"] = np.where(areas, "auilc", "mean")
    return cells


def table_of_runs(runs: pd.DataFrame, *, by_seed: bool = False) -> pd.DataFrame:
    """Bring results of this project into the tidy form, printed as the book prints.

    Parameters
    ----------
    runs : DataFrame
        Published runs: one row per run with the columns ``dataset, view, encoder,
        encoder_mode, model, variant, missing_rate, seed`` and ``test_<metric>``.
    by_seed : bool
        One table row per run instead of the mean over seeds.

    Returns
    -------
    DataFrame
        Columns `PLACE` plus ``runs``, ``weighting`` and ``factor``. Shares are in
        percent with two decimals; an undefined value is a dash. Runs with metrics that
        a data set does not have leave no cell, nor do runs that leave clips out
        (``drop_last``): the checks count the clips of a whole split.

    Raises
    ------
    RunsError
        If columns are missing, naming them.
    """
    columns = [f"test_{key}" for key in METRICS if f"test_{key}" in runs]
    missing = [name for name in OF_RUNS if name not in runs]
    missing += [] if columns else ["test_<metric>"]
    if missing:
        raise RunsError(f"the runs to audit have no column {', '.join(missing)}")
    if "hyper" in runs:
        partial = [bool(json.loads(text).get("drop_last")) for text in runs["hyper"]]
        runs = runs[~np.array(partial, dtype=bool)]
    # The setting tells apart runs with other than default hyper-parameters.
    optional = ["setting"] if "setting" in runs else []
    system = ["model", "variant", *optional, *(["seed"] if by_seed else [])]
    keys = [*_SETTINGS, *system, "missing_rate"]
    groups = runs.groupby(keys, dropna=False)
    # A metric that is undefined in one run is undefined on average.
    means = groups[columns].agg(lambda values: values.mean(skipna=False))
    counts = groups.size().rename("runs")
    long = means.join(counts).reset_index().melt([*keys, "runs"], columns, "column")
    names = long["column"].str.removeprefix("test_").map(METRIC_NAMES)
    table = pd.DataFrame(
        {
            "paper": "this replication",
            "table": _joined(long, _SETTINGS[1:]),
            "dataset": long["dataset"].str.upper(),
            "model": _joined(long, system),
            "metric": names.str[0],
            "variant": names.str[1],
            "rate": long["missing_rate"],
            "weighting": names.str[2],
            "runs": long["runs"],
        }
    )
    table["factor"] = np.where(table["metric"].isin(PERCENT), 100.0, 1.0)
    digits = np.where(table["factor"] == 100, 2, 4)
    printed = long["value"].astype(float) * table["factor"]
    table["printed"] = [
        "-" if np.isnan(value) else f"{value:.{places}f}"
        for value, places in zip(printed, digits, strict=True)
    ]
    sims = table["dataset"] == "SIMS"
    exists = np.where(
        sims,
        (table["variant"] == "") & (table["metric"] != "Acc-7"),
        (table["variant"] != "") | ~table["metric"].isin(["Acc-2", "Acc-3", "F1"]),
    )
    return table[exists].reset_index(drop=True)


def _joined(table: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    words = table[list(columns)].fillna("").astype(str)
    return words.agg(lambda row: ", ".join(filter(None, row)), axis=1)
