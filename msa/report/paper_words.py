"""What a page of a paper's numbers says in words: how far it is, which orders agree."""

from __future__ import annotations

import pandas as pd
from scipy.stats import kendalltau

from msa.data.registry import FRAME_LEVEL, source
from msa.report import claims
from msa.report.claims import LinkedTable, measure
from msa.report.compare import SOURCES, Source, compared
from msa.report.labels import MISSING, fewest_to_most
from msa.report.paper_tables import place, rounds_in_words, timed_view
from msa.report.tables import Table
from msa.study.grids import CANDIDATES, in_view, study_names
from msa.study.stats import TIE
from msa.train.metrics import METRICS

TUNED = (
    "On CMU-MOSI six baselines have settings of a small search on validation; the "
    "papers' models and TFR-Net have the papers' own or, where these are silent, the "
    "released code's ([how to read the pages](index.md))."
)
"""What readers of a table of systems have to know of their hyper-parameters."""

UNTUNED = (
    "No setting of these systems was searched for ([how to read the pages](index.md))."
)
"""The same, where none of the systems took part in the search."""


def state(page: str, cells: pd.DataFrame) -> str:
    """Say at the top of a page what its numbers are, and what is still to run.

    Parameters
    ----------
    page : str
        A key of ``SOURCES``.
    cells : DataFrame
        From :func:`compared`.

    Returns
    -------
    str
        Markdown.
    """
    source_ = SOURCES[page]
    view, mode = cells["view"].iloc[0], cells["encoder_mode"].iloc[0]
    printed = cells[cells["paper_value"].notna()]
    names = [source(d, view).title for d in dict.fromkeys(cells["dataset"])]
    done = int((printed["status"] == "").sum())
    rates = (
        "Missing rate 0.0"
        if source_.number == "complete"
        else "Missing rates 0.0 to 1.0 in steps of 0.1"
    )
    lines = [
        f"**Data:** {' and '.join(names)}. {place(cells)} {rates}, the same in train, "
        f"valid and test. **{done} of {len(printed)} {_cells_of(source_)}** have been "
        f"run{_by_data_set(printed, names)}"
        + ("." if done == len(printed) else "; the others say so.")
    ]
    if view not in FRAME_LEVEL:
        lines[0] = (
            "**Not the papers' features:** orders and shapes can be compared with the "
            f"paper, values cannot. {lines[0]}"
        )
    if source_.number == "seconds" and done:
        lines[0] += f" Each number of ours is a mean over {rounds_in_words(cells)}."
    if source_.number == "seconds" and not (timed := timed_view(cells)):
        lines[0] += " Times are measured with a frozen encoder."
    elif done < len(printed) and source_.number == "seconds":
        lines.append(f"```bash\n{measure(timed)}\n```")
    elif done < len(printed):
        runs = [f"python -m msa study run {s}" for s in _studies(source_, view, mode)]
        commands = "\n".join([*runs, "python -m msa study publish"])
        lines[0] += (
            " To run them:"
            if runs
            else " No study has them; under a table are the commands of its rows."
        )
        lines += [f"```bash\n{commands}\n```"] if runs else []
    if source_.studies[:1] == ("matrix-mosi",):
        lines.append(
            TUNED
            if view not in FRAME_LEVEL
            and set(cells["system"]) & set(CANDIDATES["mosi"])
            else UNTUNED
        )
    return "\n\n".join(lines)


def _cells_of(source_: Source) -> str:
    """Return what the cells of a page are; figures print no numbers of their own."""
    if source_.number == "MWA/10":
        return "cells computed from the paper's tables"
    return "printed cells"


def _by_data_set(printed: pd.DataFrame, names: list[str]) -> str:
    """Say how many cells of each data set have been run, where there are several."""
    if len(names) == 1:
        return ""
    run = [own == "" for _, own in printed.groupby("dataset", sort=False)["status"]]
    told = [f"{name} {s.sum()} of {len(s)}" for name, s in zip(names, run, strict=True)]
    return f" ({', '.join(told)})"


def _studies(source_: Source, view: str, encoder_mode: str) -> tuple[str, ...]:
    """Return the studies that run the cells of a table on a view, if there are any."""
    if encoder_mode == "finetune":
        is_matrix = all(name.startswith("matrix") for name in source_.studies)
        return ("finetuned",) if is_matrix and view == "clip-context" else ()
    names = [in_view(name, view) for name in source_.studies]
    return tuple(name for name in names if name in study_names())


def in_short(page: str, cells: pd.DataFrame) -> str:
    """Sum a page up: how far it is, whether the orders agree, what the claims became.

    Cells in which the paper prints a dash do not count. Whether a number is better than
    the paper's is said of the papers' own features only.
    """
    source_ = SOURCES[page]
    both = cells.dropna(subset=["ours", "paper_value"])
    count = int(cells["paper_value"].notna().sum())
    if both.empty:
        return f"None of the {count} {_cells_of(source_)} has been run yet."
    told = (
        f"{len(both)} of {count} {_cells_of(source_)} have a number of ours beside them"
    )
    is_time = source_.number == "seconds"  # of another machine
    if cells["view"].iloc[0] in FRAME_LEVEL and not is_time:
        better, worse = _against_paper(both)
        told += f", {better} better than the paper's and {worse} worse"
    words = [f"{told}."]
    taus = agreement(cells)
    if len(taus):
        by_data = taus.groupby(level=0, sort=False).agg(["mean", "size"])
        told = " and ".join(
            f"{row.mean:.2f} on {source(row.Index).title} ({row.size} columns)"
            for row in by_data.itertuples()
        )
        words.append(
            f"The order of the systems agrees with the paper's by a Kendall tau of "
            f"{told}: averages over the columns with at least four systems, without "
            "an interval (1: the same order, 0: unrelated, -1: reversed)."
        )
    words.append(claims.in_short(cells["view"].iloc[0], f"papers/{page}"))
    if words[-1] and "finetune" in set(cells["encoder_mode"]):
        words.append("Runs with a frozen text encoder decide them.")
    return " ".join(words).rstrip()


def _against_paper(both: pd.DataFrame) -> tuple[int, int]:
    """Count the cells in which ours is better than the paper's, and worse."""
    sign = [1 if METRICS[key].higher_is_better else -1 for key in both["key"]]
    gain = (both["ours"] - both["paper_value"]) * sign
    return int((gain > TIE).sum()), int((gain < -TIE).sum())


def agreement(cells: pd.DataFrame) -> pd.Series:
    """Return Kendall's tau between the paper's and our order of systems, by column.

    The index has the data set of each column.
    Columns with fewer than four systems that both have are left out, and so are those
    in which all systems are equal.
    """
    both = cells.dropna(subset=["ours", "paper_value"])
    keys = ["dataset", "metric", "variant", "rate"]
    groups = [g for _, g in both.groupby(keys, dropna=False) if len(g) >= 4]
    orders = [g[["ranked", "paper_ranked"]].round(9).to_numpy() for g in groups]
    taus = [kendalltau(*order.T).statistic for order in orders]
    places = [g["dataset"].iloc[0] for g in groups]
    return pd.Series(taus, index=places, dtype=float).dropna()


def overview() -> Table:
    """Count, for every page with scores, the cells that have been run."""
    rows = []
    for page, source_ in SOURCES.items():
        cells = compared(page)
        both = cells.dropna(subset=["ours", "paper_value"])
        taus = agreement(cells)
        rows.append(
            {
                "Page": f"papers/{page}",
                "Data": ", ".join(source(d).title for d in cells["dataset"].unique()),
                "Cells": int(cells["paper_value"].notna().sum()),
                "Run": len(both),
                "Seeds": fewest_to_most(both["n"])
                + (" rounds" if source_.number == "seconds" else ""),
                "Kendall tau": f"{taus.mean():.2f}" if len(taus) else MISSING,
                "Studies": ", ".join(source_.studies),
            }
        )
    caption = (
        "Pages with scores: cells that the paper prints (for figures, that can be "
        "computed from its tables), those with a number of ours (default feature view, "
        "frozen encoder), the seeds behind them, and how far our order of the systems "
        "agrees with the paper's (mean over columns, without an interval; 1: the same "
        "order, 0: unrelated, -1: reversed). "
        "python -m msa study run STUDY runs what is missing."
    )
    return LinkedTable.plain(pd.DataFrame(rows), "overview", caption)


def overview_in_short(table: Table) -> str:
    """Say of the pages of :func:`overview` how many are done and how orders agree."""
    rows = table.data
    done = int((rows["Run"] == rows["Cells"]).sum())
    taus = pd.to_numeric(rows["Kendall tau"], errors="coerce").dropna()
    words = f"On {done} of {len(rows)} pages with scores every cell has been run."
    if len(taus):
        words += (
            f" Our order of the systems agrees with the paper's by a Kendall tau of "
            f"{taus.min():.2f} to {taus.max():.2f} by page (1: the same order, 0: "
            "unrelated, -1: reversed), without an interval."
        )
    return f"{words} Each gap has the command that fills it."
