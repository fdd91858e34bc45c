"""Check 5a: areas and weighted averages over missing rates, recomputed.

MFMB-Net summarises a metric over rates by AUILC (its eq. 20), MIT-FRNet by MWA (its
eq. 25), whose divisor can be read as 10 or as 11. MIT-FRNet shows MWA in figures only,
MFMB-Net prints AUILC but no per-rate values: so the numbers of one paper are brought
into the form of the other.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from msa.audit.findings import findings, place
from msa.audit.labels import Labels
from msa.data.published import SCORES
from msa.train.metrics import RATES, auilc, mwa

_SERIES = ["paper", "dataset", "model", "metric", "variant", "weighting"]


def derived_scores(cells: pd.DataFrame) -> pd.DataFrame:
    """Summarise every metric that is printed at all eleven missing rates.

    Returns
    -------
    DataFrame
        Columns ``paper, table, dataset, model, metric, variant, weighting, auilc,
        mwa_10, mwa_11, half, factor``; values in printed units, ``half`` the largest
        effect of rounding on the area. An undefined value makes the area undefined. In
        MWA a value at rate 1.0 has weight 0, so an undefined one there does no harm.
    """
    shown = cells[cells["metric"].isin(SCORES) & cells["rate"].notna()]
    rows = []
    for key, group in shown.groupby(["table", *_SERIES], sort=False):
        group = group.sort_values("rate")
        if not np.array_equal(group["rate"], RATES):
            continue
        values = group["value"].to_numpy()
        rows.append(
            dict(zip(["table", *_SERIES], key, strict=True))
            | {
                "auilc": auilc(values, RATES),
                "mwa_10": mwa(values, RATES, 10),
                "mwa_11": mwa(values, RATES, 11),
                "half": group["half"].max(),
                "factor": group["factor"].iloc[0],
            }
        )
    columns = ["table", *_SERIES, "auilc", "mwa_10", "mwa_11", "half", "factor"]
    return pd.DataFrame(rows, columns=columns)


def derived(cells: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Compare printed areas with those that per-rate tables give.

    Parameters
    ----------
    cells : DataFrame
        A table from :func:`msa.audit.tidy.prepare`.
    labels : dict
        Not used: areas follow from the printed numbers alone.

    Returns
    -------
    DataFrame
        One finding per printed area for which some table prints the same system at all
        rates. In the same paper the two must agree up to rounding; in another paper
        they come from other runs, and the difference is a note.
    """
    areas = cells[(cells["aggregate"] == "auilc") & cells["value"].notna()]
    series = derived_scores(cells)
    rows = []
    for area in areas.itertuples():
        same = series[
            (series["dataset"] == area.dataset)
            & (series["model"] == area.model)
            & (series["metric"] == area.metric)
            & (series["variant"] == area.variant)
        ]
        # "Ours" is another system in another paper.
        if area.model == "Ours":
            same = same[same["paper"] == area.paper]
        for other in same.itertuples():
            value = other.auilc * area.factor / other.factor
            margin = other.half * area.factor / other.factor + area.half
            fits = abs(value - area.value) <= margin * (1 + 1e-9)
            own = other.paper == area.paper
            rows.append(
                place(area)
                | {
                    "expected_low": value - margin,
                    "expected_high": value + margin,
                    "verdict": "note" if not own else "ok" if fits else "inconsistent",
                    "explanation": f"the area under {other.paper} {other.table} is "
                    f"{value:.4g}, {area.value - value:+.3g} from the printed one"
                    + ("" if own else "; other runs, so they need not agree"),
                }
            )
    return findings("derived", rows)
