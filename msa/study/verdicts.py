"""The verdict on every claim, from published runs and the rules of ``claims.toml``.

Array convention as in :mod:`msa.study.stats`: ``R`` runs (seeds), ``B`` resamples,
``S`` missing rates. Scores are turned so that larger is better before anything is
compared: MAE enters with a minus sign.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from msa.data.load import MissingData
from msa.data.published import PRINTED_NAMES, published
from msa.data.registry import FRAME_LEVEL
from msa.study.cells import ERROR_OF, Cell, compare
from msa.study.claims import Claim, places, rates_of, read_claims, rules, run_fields
from msa.study.evidence import Evidence
from msa.study.grids import FIVE_SEEDS
from msa.study.publish import publish_table
from msa.study.results import load_passport, load_runs, load_table
from msa.study.stats import TIE, interval
from msa.train.metrics import RATES

VERDICTS = (
    "reproduced",
    "consistent",
    "not reproduced",
    "not testable here",
    "not enough runs yet",
)
REPRODUCED, CONSISTENT, REFUTED, UNTESTABLE, UNFINISHED = VERDICTS


_ENCODERS = (
    "text encoder of these runs: the data set's default, frozen; of the paper: a "
    "fine-tuned BERT base"
)


@dataclass(frozen=True)
class Verdict:
    """What the published runs say of a claim.

    Attributes
    ----------
    id, view : str
        The claim, and the feature view of the runs.
    verdict : str
        One of ``VERDICTS``.
    effect, lo, hi : float
        Gain of the only cell, or share of cells won, with its interval.
    unit : str
        Metric of the gain, ``"seconds"``, ``"share"`` (of cells), or empty.
    n : int
        Seeds, the fewest in any cell; rounds of measuring for running times.
    cells, won, sure, lost, empty : int
        Cells in all, and of each sort.
    published, needed : int
        Runs that the claim needs at the smallest number of seeds, and how many of
        them are there; measurements for running times.
    reason : str
        The numbers behind the verdict in words.
    runs : str
        Number and digest of what counted: runs with their scores, or measured times.
        Empty where there is none yet.
    """

    id: str
    view: str
    verdict: str
    effect: float = np.nan
    lo: float = np.nan
    hi: float = np.nan
    unit: str = ""
    n: int = 0
    cells: int = 0
    won: int = 0
    sure: int = 0
    lost: int = 0
    empty: int = 0
    published: int = 0
    needed: int = 0
    reason: str = ""
    runs: str = ""


CLAIM_COLUMNS = tuple(Verdict.__dataclass_fields__)
CELL_COLUMNS = (
    *("id", "view", "dataset", "metric", "at", "first", "second"),
    *("n", "gain", "lo", "hi", "won", "sure", "lost"),
)


# --- storing --------------------------------------------------------------------------


def publish_verdicts(results: Path | None = None) -> tuple[str, ...]:
    """Decide about every claim and store the verdicts with the published results.

    ``claims.csv`` has one row per claim and feature view, ``claim-cells.csv`` one per
    comparison. Frame-level views have rows as soon as a run on them is published. Where
    labels are not on this machine, the stored rows of a claim stay as they are.

    Returns
    -------
    tuple of str
        Files that changed.
    """
    stored = [_stored(name, results) for name in ("claims", "claim-cells")]
    rows, cells = [], []
    for view in _views(results):
        evidence = Evidence(view, results)
        for claim in read_claims():
            try:
                verdict, found = decide(claim, evidence)
            except MissingData:
                kept = [
                    old[(old["id"] == claim.id) & (old["view"] == view)]
                    for old in stored
                ]
                rows += kept[0].to_dict("records")
                cells += kept[1].to_dict("records")
                continue
            rows.append(vars(verdict))
            cells += [_cell_row(claim, view, cell) for cell in found]
    written = publish_table(
        "claims", pd.DataFrame(rows, columns=CLAIM_COLUMNS), results
    )
    return written + publish_table(
        "claim-cells", pd.DataFrame(cells, columns=CELL_COLUMNS), results
    )


def load_verdicts(results: Path | None = None) -> pd.DataFrame:
    """Load the stored verdicts, one row per claim and feature view."""
    return _stored("claims", results)


def is_current(results: Path | None = None) -> bool:
    """Tell whether the stored verdicts were made from the runs published now.

    Compares which runs each claim had and has, and their scores, which needs no labels.
    """
    stored = load_verdicts(results).set_index(["id", "view"])
    for view in _views(results):
        evidence = Evidence(view, results)
        for claim in read_claims():
            if (claim.id, view) not in stored.index:
                return False
            row = stored.loc[claim.id, view]
            if claim.kind == "counts" or _no_run_decides(claim, view):
                continue
            counted = (int(row["published"]), int(row["needed"]), row["runs"])
            if counted != (*_progress(claim, evidence), _digest(claim, evidence)):
                return False
    return True


def _stored(name: str, results: Path | None) -> pd.DataFrame:
    columns = {"claims": CLAIM_COLUMNS, "claim-cells": CELL_COLUMNS}[name]
    table = load_table(name, results).reindex(columns=list(columns))
    texts = ("verdict", "unit", "reason", "runs", "metric", "second")
    empty = {
        name: table[name].astype(object).fillna("") for name in texts if name in table
    }
    return table.assign(**empty)


def _views(results: Path | None) -> list[str]:
    there = set(load_runs(results=results)["view"])
    return ["clip-context", *(view for view in FRAME_LEVEL if view in there)]


def _cell_row(claim: Claim, view: str, cell: Cell) -> dict[str, object]:
    marks = {"won": cell.is_won, "sure": cell.is_sure, "lost": cell.is_lost}
    return {
        **{"id": claim.id, "view": view, "first": cell.first, "second": cell.second},
        **{"dataset": cell.place.dataset, "metric": cell.place.metric},
        "at": cell.place.number,
        **{name: getattr(cell, name) for name in ("n", "gain", "lo", "hi")},
        **{name: int(mark) for name, mark in marks.items()},
    }


# --- from cells to a verdict ----------------------------------------------------------


def decide(claim: Claim, evidence: Evidence) -> tuple[Verdict, list[Cell]]:
    """Decide about a claim.

    Returns
    -------
    verdict : Verdict
    cells : list of Cell
        Every comparison behind it; empty where none could be made.

    Raises
    ------
    MissingData
        If labels are needed that are not on this machine.
    """
    name = {"id": claim.id, "view": evidence.view}
    if reason := _no_run_decides(claim, evidence.view):
        return Verdict(**name, verdict=UNTESTABLE, reason=reason), []
    if claim.kind == "counts":
        return _counted(claim, evidence), []
    there, needed = _progress(claim, evidence)
    name |= {"published": there, "needed": needed, "runs": _digest(claim, evidence)}
    if (seeds := _fewest_seeds(claim, evidence)) < rules().seeds:
        what = "measurements" if claim.kind == "faster" else "runs"
        reason = f"{there} of {needed} needed {what} are published"
        if claim.kind == "faster" and there:
            reason += _apart(claim, evidence)
        reason += _so_far(claim, evidence, seeds) if seeds else ""
        return Verdict(**name, verdict=UNFINISHED, reason=reason), []
    cells = compare(claim, evidence)
    found = _sum_up(claim, cells)
    if claim.kind == "faster":
        found["reason"] += _at_which_rates(claim, evidence)
    if claim.features == "frame-level":
        found["reason"] += f"; {_ENCODERS}"
    return Verdict(**name, **found), cells


def _no_run_decides(claim: Claim, view: str) -> str:
    """Return why no run on these features decides a claim; empty if runs do."""
    if claim.kind == "explanation":
        return claim.caveat
    if claim.features == "frame-level" and view not in FRAME_LEVEL:
        return f"states values on frame-level features; these runs have {view}"
    return ""


def _digest(claim: Claim, evidence: Evidence) -> str:
    """Sum up which runs decide a claim, and what they scored."""
    if claim.kind == "faster":
        measured = [
            evidence.rounds(dataset, claim.systems, rate)
            for dataset in claim.datasets
            for rate in RATES
        ]
        count = sum(table.size for table in measured)
        text = "".join(table.to_csv() for table in measured)
    else:
        runs = evidence.runs.loc[_run_ids(claim, evidence)].filter(like="test_")
        scores = runs.astype(float).to_dict("index")
        count = len(runs)
        text = repr({run: _defined(scores[run]) for run in sorted(scores)})
    if not count:
        return ""
    return f"{count}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _run_ids(claim: Claim, evidence: Evidence) -> list[str]:
    """Return the runs that decide a claim: all systems of a cell, on shared seeds."""
    fields = run_fields(claim)
    found = {
        evidence.run_id(place.dataset, system, rate, seed, **fields)
        for place in places(claim)
        for rates in [rates_of(place.at)]
        for seed in evidence.seeds(place.dataset, claim.systems, rates, **fields)
        for system in claim.systems
        for rate in rates
    }
    return sorted(found)


def _defined(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if value == value}


def _progress(claim: Claim, evidence: Evidence) -> tuple[int, int]:
    """Count the runs that a claim needs at least, and those that are there."""
    there = needed = 0
    for dataset, system, rate in _needs(claim):
        if claim.kind == "faster":
            found = len(evidence.rounds(dataset, [system], rate))
        else:
            found = len(evidence.seeds(dataset, [system], [rate], **run_fields(claim)))
        there += min(found, rules().seeds)
        needed += rules().seeds
    return there, needed


def _needs(claim: Claim) -> list[tuple[str, str, float]]:
    return list(
        dict.fromkeys(
            (place.dataset, system, rate)
            for place in places(claim)
            for rate in rates_of(place.at)
            for system in claim.systems
        )
    )


def _fewest_seeds(claim: Claim, evidence: Evidence) -> int:
    """Return the fewest seeds, or rounds of one session, that a cell can be made of."""
    return min(len(found) for found in _shared(claim, evidence))


def _shared(claim: Claim, evidence: Evidence) -> list[tuple[int, ...]]:
    """Return the seeds, or rounds of one session, of all systems, place by place."""
    if claim.kind == "faster":
        tables = [
            evidence.rounds(place.dataset, claim.systems, place.at)
            for place in places(claim)
        ]
        return [tuple(table.index.get_level_values("round")) for table in tables]
    fields = run_fields(claim)
    return [
        evidence.seeds(place.dataset, claim.systems, rates_of(place.at), **fields)
        for place in places(claim)
    ]


def _apart(claim: Claim, evidence: Evidence) -> str:
    """Say where the times of a claim were not measured together."""
    rounds = zip(places(claim), _shared(claim, evidence), strict=True)
    short = [place.number for place, found in rounds if len(found) < rules().seeds]
    return (
        f"; at missing rate {', '.join(short)} no session measured "
        f"{', '.join(claim.systems)} together in {rules().seeds} rounds, and times of "
        "two sessions are not compared"
    )


def _so_far(claim: Claim, evidence: Evidence, seeds: int) -> str:
    """Say how a claim stands on fewer seeds than a verdict takes."""
    cells = compare(claim, evidence)
    won = sum(cell.is_won for cell in cells if not cell.is_empty)
    if claim.kind == "faster":
        on = f"in {seeds} round{'s' if seeds > 1 else ''}"
    else:
        on = _on_seeds(_shared(claim, evidence))
    return f"; no verdict, but {on} {won} of {len(cells)} cells won"


def _on_seeds(shared: Sequence[tuple[int, ...]]) -> str:
    """Name the seeds that the cells of a claim were made of."""
    named = [seed for seed in FIVE_SEEDS if any(seed in found for found in shared)]
    plural = "s" if len(named) > 1 else ""
    alike = "alone" if len(set(shared)) == 1 else "(not all in every cell)"
    return f"on seed{plural} {' and '.join(map(str, named))} {alike}"


def _at_which_rates(claim: Claim, evidence: Evidence) -> str:
    """Say at which rates times decide, and what all measured rates would say."""
    measured = tuple(
        rate
        for rate in RATES
        if all(
            len(evidence.rounds(dataset, claim.systems, rate)) >= rules().seeds
            for dataset in claim.datasets
        )
    )
    cells = compare(claim.model_copy(update={"at": measured}), evidence)
    won = sum(cell.is_won for cell in cells)
    decide_at = ", ".join(f"{rate:.1f}" for rate in claim.at)
    plural = "s" if len(measured) > 1 else ""
    return (
        f"; decided at missing rates {decide_at}; at the {len(measured)} measured "
        f"rate{plural} {won} of {len(cells)} cells won"
    )


def _sum_up(claim: Claim, cells: Sequence[Cell]) -> dict[str, object]:
    """Turn cells into verdict, effect and reason."""
    filled = [cell for cell in cells if not cell.is_empty]
    counts = {
        "cells": len(cells),
        "won": sum(cell.is_won for cell in filled),
        "sure": sum(cell.is_sure for cell in filled),
        "lost": sum(cell.is_lost for cell in filled),
        "empty": len(cells) - len(filled),
        "n": min(cell.n for cell in cells),
    }
    if not filled:
        return {
            **counts,
            "verdict": UNTESTABLE,
            "reason": "the metric is not defined for the systems compared",
        }
    if claim.kind == "gain":
        return {**counts, **_stated_gain(claim, filled[0])}
    if len(cells) == 1 and claim.kind in ("better", "order", "faster"):
        return {**counts, **_single(filled[0])}
    return {**counts, **_several(claim, filled, counts)}


def _single(cell: Cell) -> dict[str, object]:
    if cell.is_sure:
        verdict = REPRODUCED
    elif cell.is_won and cell.hi >= rules().margin - TIE:
        verdict = CONSISTENT
    else:
        verdict = REFUTED
    return {**_effect_of(cell), "verdict": verdict, "reason": _versus(cell)}


def _stated_gain(claim: Claim, cell: Cell) -> dict[str, object]:
    stated = claim.stated or 0.0
    holds = cell.lo - TIE <= stated <= cell.hi + TIE
    if cell.is_sure and holds:
        verdict = REPRODUCED
    elif cell.is_won or holds:
        verdict = CONSISTENT
    else:
        verdict = REFUTED
    inside = "holds" if holds else "does not hold"
    reason = f"{_versus(cell)}; the interval {inside} the stated {stated:g}"
    return {**_effect_of(cell), "verdict": verdict, "reason": reason}


def _several(
    claim: Claim, cells: Sequence[Cell], counts: Mapping[str, int]
) -> dict[str, object]:
    share = counts["won"] / len(cells)
    lo, hi = _share_interval(cells)
    if claim.kind == "undefined":
        verdict = REPRODUCED if share == 1 else CONSISTENT if share else REFUTED
    else:
        is_met = share == 1 if claim.quantity == "all" else share > 0.5
        is_broken = claim.quantity == "all" and counts["lost"] > 0
        if share <= 0.5 or is_broken:
            verdict = REFUTED
        else:
            verdict = REPRODUCED if is_met and lo > 0.5 else CONSISTENT
    reason = f"{counts['won']} of {len(cells)} cells won"
    if not np.isnan(cells[0].lo):
        reason += f", {counts['sure']} surely; {counts['lost']} surely lost"
    if claim.kind == "restores":
        reason += f"; {_by_modality(cells)}"
    if counts["empty"]:
        reason += f"; {counts['empty']} more without a defined metric"
    found = {"effect": share, "lo": lo, "hi": hi, "unit": "share"}
    return {**found, "verdict": verdict, "reason": reason}


def _by_modality(cells: Sequence[Cell]) -> str:
    """Count the won cells of each modality."""
    counts = []
    for metric in dict.fromkeys(cell.place.metric for cell in cells):
        own = [cell.is_won for cell in cells if cell.place.metric == metric]
        counts.append(f"{metric.removeprefix(ERROR_OF)} {sum(own)} of {len(own)}")
    return ", ".join(counts)


def _share_interval(cells: Sequence[Cell]) -> tuple[float, float]:
    """Return the interval of the share of won cells, all cells drawn together.

    Where there are several rivals, the lower bound takes a cell for won if every one is
    beaten in a resample, the upper one if the hardest on the real clips is.
    """
    if not all(cell.won_draws.size for cell in cells):
        return np.nan, np.nan
    least = interval(np.mean([c.won_draws for c in cells], axis=0), rules().level)
    most = interval(np.mean([c.won_at_best for c in cells], axis=0), rules().level)
    return least[0], most[1]


def _effect_of(cell: Cell) -> dict[str, object]:
    unit = cell.place.metric or "seconds"
    return {"effect": cell.gain, "lo": cell.lo, "hi": cell.hi, "unit": unit}


def _versus(cell: Cell) -> str:
    return f"{cell.first} against {cell.second} on {cell.place}"


# --- cells by kind --------------------------------------------------------------------


def _counted(claim: Claim, evidence: Evidence) -> Verdict:
    """Compare the class counts of a printed table with the data passports."""
    cells = published()
    table = cells[(cells["paper"] == claim.paper) & (cells["table"] == claim.table)]
    name = {"id": claim.id, "view": evidence.view}
    equal = compared = 0
    for dataset in claim.datasets:
        splits = load_passport(dataset, evidence.view, evidence.results).get("splits")
        if splits is None:
            reason = f"no data passport of {dataset} is published"
            return Verdict(**name, verdict=UNFINISHED, reason=reason)
        ours = splits.set_index("split")
        own = table[table["dataset"] == PRINTED_NAMES[dataset]]
        for row in own[own["split"].isin(ours.index)].itertuples():
            counted = ours.at[row.split, row.metric.removeprefix("count_")]
            compared += 1
            equal += int(counted == row.value)
    verdict = REPRODUCED if compared and equal == compared else REFUTED
    return Verdict(
        **name,
        verdict=verdict,
        effect=equal / compared,
        unit="share",
        cells=compared,
        won=equal,
        reason=f"{equal} of {compared} counts are the same",
    )
