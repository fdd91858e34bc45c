"""Tables of the audit chapter: findings and background, in the words of a reader.

Every function returns a table of text, ready to be shown; the published CSV files hold
the numbers in full precision.
"""

from __future__ import annotations

import pandas as pd

from msa.audit import papers
from msa.audit.granularity import granularity_by_model
from msa.audit.summary import published_summary

_QUIET = ("ok", "no-power")


def overview() -> pd.DataFrame:
    """Return the one-page summary: one row per check."""
    table = published_summary()
    return pd.DataFrame(
        {
            "Question": table["question"],
            "Cells or claims": table["examined"],
            "Open": table["open"],
            "Worth knowing": table["noted"],
            "No power": table["no_power"],
            "What it means": table["meaning"],
        }
    )


def loud(check: str) -> pd.DataFrame:
    """Return the findings of a check that say more than ``ok`` or ``no-power``."""
    found = papers.findings(check)
    return readable(found[~found["verdict"].isin(_QUIET)])


def readable(found: pd.DataFrame) -> pd.DataFrame:
    """Return findings with joined columns and numbers as text."""
    return pd.DataFrame(
        {
            "Table": found["paper"] + " " + found["table"],
            "Data": found["dataset"],
            "Row": [
                paper if model == "Ours" else model
                for paper, model in zip(found["paper"], found["model"], strict=True)
            ],
            "Metric": _metrics(found),
            "Rate": _rates(found["rate"]),
            "Printed": found["printed"],
            "Expected": [
                _range(low, high, _places(printed))
                for low, high, printed in zip(
                    *(found["expected_low"], found["expected_high"], found["printed"]),
                    strict=True,
                )
            ],
            "Verdict": found["verdict"],
            "Explanation": found["explanation"],
        }
    ).reset_index(drop=True)


def granularity() -> pd.DataFrame:
    """Return attained and expected cells by table, row and number of runs."""
    table = papers.granularity_by_model()
    table = table[table["p_value"].notna()]
    text = [
        f"{row.attained} ({row.cells * row.expected_share:.1f})"
        for row in table.itertuples()
    ]
    wide = _by_row(table.assign(text=text)).pivot(
        index=["Table", "Row", "cells"], columns="runs", values="text"
    )
    wide.columns = [f"k = {runs}" for runs in wide.columns]
    three = _by_row(table[table["runs"] == 3]).set_index(["Table", "Row", "cells"])
    wide["p (k = 3), adjusted"] = three["p_adjusted"].map(_p)
    wide["p, fewer than in other rows"] = three["p_fewer_than_rest"].map(_p)
    order = _by_row(table)[["Table", "Row", "cells"]].drop_duplicates()
    wide = wide.loc[pd.MultiIndex.from_frame(order)].fillna("–")
    return wide.reset_index().rename(columns={"cells": "Cells"})


def table_2() -> pd.DataFrame:
    """Return how Table 2 of MFMB-Net fits all 686 test clips and 672 of them."""
    cells = papers.cells()
    own = (cells["paper"] == "MFMB-Net") & (cells["table"] == "Table 2")
    # Non0 has no grid if the number of non-neutral clips varies by run.
    grid = cells[own & (cells["variant"] != "non0")].assign(model="all rows")
    rows = []
    for dropped in (0, int(grid["dropped"].max())):
        summary = granularity_by_model(grid.assign(dropped=dropped), papers.labels())
        rows += [
            {
                "Test clips": len(papers.labels()["MOSI"]["test"]) - dropped,
                "Runs": row.runs,
                "Attained": f"{row.attained} of {row.cells}",
                "Expected by chance": f"{row.cells * row.expected_share:.1f}",
                "p": _p(row.p_value),
            }
            for row in summary.itertuples()
        ]
    return pd.DataFrame(rows)


def constant_scores() -> pd.DataFrame:
    """Return the scores of constant predictors, shares in percent."""
    table = papers.constant_scores()
    shown = [
        f"{row.score:.4f}" if row.metric == "MAE" else f"{100 * row.score:.2f}"
        for row in table.itertuples()
    ]
    metric = _metrics(table) + table["weighting"].map(lambda w: f" {w}" if w else "")
    return pd.DataFrame(
        {
            "Data": table["dataset"],
            "Predictor": table["predictor"],
            "Metric": metric.str.strip(),
            "Score": shown,
        }
    )


def systems() -> pd.DataFrame:
    """Return which definition of F1 the pairs of every system fit."""
    table = papers.f1_systems()
    return pd.DataFrame(
        {
            "Table": table["paper"] + " " + table["table"],
            "Data": table["dataset"],
            "Row": _by_row(table)["Row"],
            "Only correct": table["correct"],
            "Only swapped": table["swapped"],
            "Both": table["both"],
            "Neither": table["neither"],
            "F1 - Acc-2, mean": table["mean_gap"].map("{:+.2f}".format),
            "Reading": table["reading"],
        }
    )


def rankings() -> pd.DataFrame:
    """Return mean ranks as printed, without F1, and with one definition of F1."""
    table = papers.rankings()
    ranks = table[["as_printed", "without_f1", "one_f1"]].map("{:.2f}".format)
    ranks.columns = ["As printed", "Without F1", "One definition of F1"]
    named = _by_row(table).rename(columns={"dataset": "Data"})
    return pd.concat([named[["Table", "Data", "Row"]], ranks], axis=1)


def quoted_in_both() -> pd.DataFrame:
    """Return areas of systems that both papers print on MOSI, F1 also mirrored."""
    series, cells = papers.derived_scores(), papers.cells()
    areas = cells[(cells["paper"] == "MFMB-Net") & (cells["table"] == "Table 4")]
    both = areas.merge(
        series[series["table"] == "Table 4"],
        on=["dataset", "model", "metric", "variant"],
        suffixes=("", "_rates"),
    )
    both = both[(both["model"] != "Ours") & both["metric"].isin(["Acc-2", "F1"])]
    wide = both.pivot(
        index=["model", "variant"], columns="metric", values=["value", "auilc"]
    )
    mirrored = 2 * wide["auilc", "Acc-2"] - wide["auilc", "F1"]
    table = pd.DataFrame(
        {
            "Acc-2, MFMB-Net": wide["value", "Acc-2"],
            "Acc-2, from MIT-FRNet": wide["auilc", "Acc-2"],
            "F1, MFMB-Net": wide["value", "F1"],
            "F1, from MIT-FRNet": wide["auilc", "F1"],
            "the same with correct weights": mirrored,
        }
    )
    table = table.map("{:.1f}".format).reset_index()
    table["variant"] = table["variant"].str.capitalize()
    return table.rename(columns={"model": "Row", "variant": "Variant"})


def derived_scores() -> pd.DataFrame:
    """Return AUILC and MWA of every row that is printed at all rates."""
    table = papers.derived_scores()
    scores = table[["auilc", "mwa_10", "mwa_11"]].map("{:.2f}".format)
    scores = scores.replace("nan", "–")
    scores.columns = ["AUILC", "MWA, divisor 10", "MWA, divisor 11"]
    names = pd.DataFrame(
        {
            "Table": table["paper"] + " " + table["table"],
            "Data": table["dataset"],
            "Row": _by_row(table)["Row"],
            "Metric": _metrics(table),
        }
    )
    return pd.concat([names, scores], axis=1)


def claims(verdict: str | None = None) -> pd.DataFrame:
    """Return the claims of both texts, all or those with one verdict."""
    table = papers.claims()
    if verdict is not None:
        table = table[table["verdict"] == verdict]
    return pd.DataFrame(
        {
            "Table": table["paper"] + " " + table["table"],
            "Section": table["section"],
            "The text says": table["says"],
            "Stated": table["stated"],
            "Computed": table["computed"],
            "Verdict": table["verdict"],
            "Arithmetic": table["arithmetic"],
        }
    ).reset_index(drop=True)


def noise() -> pd.DataFrame:
    """Return the noise floor and how gains scatter, by metric."""
    table = papers.noise().merge(
        papers.steadiness(), on=["dataset", "metric", "variant"], suffixes=("", "_gain")
    )
    return pd.DataFrame(
        {
            "Metric": _metrics(table),
            "One system twice, RMS": table["floor"].map("{:.2f}".format),
            "95 % interval": [
                f"{row.low:.2f} to {row.high:.2f}" for row in table.itertuples()
            ],
            "RMS of an area": table["area_floor"].map("{:.2f}".format),
            "Gain, mean": table["mean_gain"].map("{:+.2f}".format),
            "Gain, SD": table["gain_sd"].map("{:.2f}".format),
            "Ahead at": [f"{row.wins} of {row.rates}" for row in table.itertuples()],
            "p, as many": table["p_wins"].map(_p),
            "p, as steady": table["p_sd"].map(_p),
        }
    )


def wins() -> pd.DataFrame:
    """Return how often a paper's own model is the best of its table."""
    table = papers.wins()
    return pd.DataFrame(
        {
            "Table": table["paper"] + " " + table["table"],
            "Data": table["dataset"],
            "Systems": table["systems"],
            "Best in": [f"{row.wins} of {row.cells}" for row in table.itertuples()],
            "Expected by chance": table["expected_wins"].map("{:.1f}".format),
            "p if cells were independent": table["p_value"].map(_p),
        }
    )


def class_counts() -> pd.DataFrame:
    """Return classes and majority shares of every split."""
    table = papers.class_table()
    columns = {"dataset": "Data", "split": "Split", "negative": "Negative"}
    columns |= {"neutral": "Neutral", "positive": "Positive", "clips": "Clips"}
    return table.rename(columns=columns)


def majority() -> pd.DataFrame:
    """Return the accuracy of the majority class of every test split, in percent."""
    table = papers.majority_shares()
    return pd.DataFrame(
        {
            "Data": table["dataset"],
            "Metric": _metrics(table),
            "Majority class": table["predictor"],
            "Score (%)": table["score"].map(lambda share: f"{100 * share:.2f}"),
        }
    )


def _by_row(table: pd.DataFrame) -> pd.DataFrame:
    """Add the reader's columns ``Table`` and ``Row``."""
    own = table["model"] == "Ours"
    return table.assign(
        Table=table["paper"] + " " + table["table"],
        Row=table["model"].mask(own, table["paper"]),
    )


def _metrics(table: pd.DataFrame) -> pd.Series:
    variant = table["variant"].replace({"has0": "Has0", "non0": "Non0"})
    return (table["metric"] + " " + variant).str.strip()


def _rates(rates: pd.Series) -> pd.Series:
    return rates.map(lambda rate: "" if pd.isna(rate) else f"{rate:.1f}")


def _range(low: float, high: float, places: int) -> str:
    if pd.isna(low) and pd.isna(high):
        return ""
    if pd.isna(high):
        return f"at least {low:.{places}f}"
    if pd.isna(low):
        return f"at most {high:.{places}f}"
    ends = f"{low:.{places}f}", f"{high:.{places}f}"
    return ends[0] if low == high else " to ".join(ends)


def _places(printed: str) -> int:
    """Return the decimals for what was expected: none for counts, else two or more."""
    if str(printed).isdigit():
        return 0
    return max(2, len(str(printed).rpartition(".")[2]))


def _p(value: float) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
