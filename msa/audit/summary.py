"""What the audit of the two papers comes to: one computed sentence per check."""

from __future__ import annotations

import pandas as pd

from msa.audit import papers
from msa.audit.checks import CHECKS, verdict_counts
from msa.audit.findings import OPEN

NOTED = ("note", "equals-constant", "below-constant")
"""Verdicts that are worth knowing but contradict nothing."""


def published_summary() -> pd.DataFrame:
    """Summarise the findings on both papers.

    Returns
    -------
    DataFrame
        One row per check: ``check, question, examined, open`` (unattainable or
        inconsistent), ``noted``, ``no_power`` and ``meaning``, sentences whose numbers
        are all computed.
    """
    counts = verdict_counts(papers.findings())
    return pd.DataFrame(
        {
            "check": counts.index,
            "question": [CHECKS[name].question for name in counts.index],
            "examined": counts["examined"].to_numpy(),
            "open": counts[list(OPEN)].sum(axis=1).to_numpy(),
            "noted": counts[list(NOTED)].sum(axis=1).to_numpy(),
            "no_power": counts["no-power"].to_numpy(),
            "meaning": [_MEANINGS[name]() for name in counts.index],
        }
    )


def _of(rows: pd.DataFrame, **where: object) -> pd.DataFrame:
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def _open(rows: pd.DataFrame) -> int:
    return int(rows["verdict"].isin(OPEN).sum())


def _attained(rows: pd.DataFrame) -> str:
    chance = (rows["expected_share"] * rows["cells"]).sum() / rows["cells"].sum()
    return (
        f"{rows['attained'].sum()} of {rows['cells'].sum()} "
        f"({chance:.0%} expected by chance)"
    )


def _granularity() -> str:
    three = _of(papers.granularity_by_model(), runs=3)
    mit = _of(three, paper="MIT-FRNet")
    mosi, sims = mit[mit["table"] != "Table 5"], mit[mit["table"] == "Table 5"]
    parts = {
        "MOSI, other rows": mosi[mosi["model"] != "Ours"],
        "MOSI, own model": mosi[mosi["model"] == "Ours"],
        "CH-SIMS, all rows": sims,
        "MFMB-Net Table 2 with 672 of 686 clips": _of(three, table="Table 2"),
    }
    words = "; ".join(f"{name}: {_attained(rows)}" for name, rows in parts.items())
    return f"Accuracies that are a mean of three runs, in MIT-FRNet, {words}."


def _has0_non0() -> str:
    rows = papers.findings("has0-non0")
    slips = _of(rows, verdict="inconsistent")
    where = ", ".join(
        f"{_system(row.paper, row.model)} at rate {row.rate:.1f}"
        for row in slips.itertuples()
    )
    return (
        f"In {len(slips)} of {len(rows)} rows the two binary accuracies cannot come "
        f"from the same predictions: {where} (MIT-FRNet Table 4)."
    )


def _constants() -> str:
    rows = papers.findings("constants")
    majority = papers.majority_shares().set_index(["dataset", "metric"])["score"]
    parts = []
    for metric in ("Acc-2", "Acc-5"):
        share = majority["SIMS", metric]
        values = _of(papers.cells(), dataset="SIMS", metric=metric)["value"]
        above = int((values / 100 > share + 5e-5).sum())
        parts.append(
            f"{metric} {share:.2%}, which {above} of {len(values)} values exceed"
        )
    return (
        f"{len(_of(rows, verdict='equals-constant'))} cells equal a predictor that "
        f"ignores its input, {len(_of(rows, verdict='below-constant'))} are worse than "
        f"the best such one. On CH-SIMS the majority class reaches {'; '.join(parts)}."
    )


def _f1() -> str:
    table = _of(papers.f1_pairs(), paper="MFMB-Net", table="Table 4", dataset="MOSI")
    rest = table[table["model"] != "Ours"].groupby("variant")["f1"].max()
    ours = _of(table, model="Ours").set_index("variant")
    readings = _of(
        papers.f1_systems(), paper="MFMB-Net", table="Table 4", dataset="MOSI"
    )
    correct = len(_of(readings, reading="correct"))
    return (
        f"MFMB-Net's Table 4 mixes two definitions: {correct} quoted systems fit only "
        "correct class weights, its own model only swapped ones. With correct weights "
        f"its F1 on MOSI is {_slash(ours['mirrored'])} instead of "
        f"{_slash(ours['f1'])}; the best quoted one is {_slash(rest)}. MIT-FRNet's "
        "tables use swapped weights for all systems."
    )


def _slash(values: pd.Series) -> str:
    return f"{values['has0']:.1f}/{values['non0']:.1f}"


def _derived() -> str:
    checked = papers.claims()
    counts = checked["verdict"].value_counts()
    return (
        f"Of {len(checked)} statements of the texts about a table, {counts['ok']} "
        f"follow from it, {counts['inconsistent']} do not, and {counts['note']} leave "
        "open how much they claim."
    )


def _consistency() -> str:
    rows = papers.findings("consistency")
    parts = {
        "ablation arrows point against the difference": "arrow",
        "bold marks are not at the best value": "bold",
        "accuracies are below a finer one": "Acc-",
        "values differ from the same row of another table": "Table",
    }
    words = []
    for meaning, start in parts.items():
        same = rows[rows["explanation"].str.startswith(start)]
        words.append(f"{_open(same)} of {len(same)} {meaning}")
    unmarked = _open(rows[rows["explanation"].str.startswith("the best value")])
    return "; ".join(words) + f"; {unmarked} best values are not bold."


def _noise_floor() -> str:
    table = _of(papers.gains(), paper="MIT-FRNet")
    ahead = table[table["gain"] > 0]
    twins = _of(papers.twin_differences(), metric="Acc-2")["difference"].abs()
    return (
        "Two rows that the released code makes one system differ by "
        f"{twins.median():.2f} points of Acc-2 in the median and {twins.max():.2f} at "
        f"most. MIT-FRNet is ahead in {len(ahead)} of {len(table)} MOSI cells; "
        f"{int(ahead['exceeds'].sum())} of these gains exceed that scatter."
    )


def _data_statistics() -> str:
    rows = papers.findings("data-statistics")
    counts = rows[rows["metric"].str.startswith("count_")]
    return (
        f"{len(_of(counts, verdict='ok'))} of {len(counts)} comparisons of printed "
        "class counts agree exactly."
    )


def _system(paper: str, model: str) -> str:
    return paper if model == "Ours" else model


_MEANINGS = {
    "granularity": _granularity,
    "has0-non0": _has0_non0,
    "constants": _constants,
    "f1": _f1,
    "derived": _derived,
    "consistency": _consistency,
    "noise-floor": _noise_floor,
    "data-statistics": _data_statistics,
}
