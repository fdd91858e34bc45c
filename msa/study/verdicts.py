"""The verdict on every claim, from published runs and the rules of ``claims.toml``.

Array convention as in :mod:`msa.study.stats`: ``R`` runs (seeds), ``B`` resamples,
``S`` missing rates. Scores are turned so that larger is better before anything is
compared: MAE enters with a minus sign.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from msa.data.load import MissingData, load
from msa.data.published import published
from msa.data.registry import FRAME_LEVEL, source
from msa.study.claims import (
    Claim,
    Place,
    along,
    config_of,
    parse_system,
    places,
    rates_of,
    read_claims,
    rules,
)
from msa.study.grids import FIVE_SEEDS
from msa.study.publish import (
    load_curves,
    load_passport,
    load_predictions,
    load_reconstructions,
    load_runs,
    load_table,
    publish_table,
)
from msa.study.stats import (
    TIE,
    Floats,
    Scored,
    interval,
    mean_over_runs,
    run_counts,
    scored,
)
from msa.train.metrics import METRICS, RATES

VERDICTS = (
    "reproduced",
    "consistent",
    "not reproduced",
    "not testable here",
    "not enough runs yet",
)
REPRODUCED, CONSISTENT, REFUTED, UNTESTABLE, UNFINISHED = VERDICTS

IMPUTATIONS = ("zero", "mean", "last")
"""What a reconstruction has to beat."""

_ENCODERS = (
    "text encoder of these runs: the data set's default, frozen; of the paper: a "
    "fine-tuned BERT base"
)

_ERROR = "RMSE of "
"""In front of a modality: what the cells of a reconstruction compare."""

PRINTED_NAMES = {"mosi": "MOSI", "mosei": "MOSEI", "sims": "SIMS"}
"""Data sets as the papers' tables name them."""


@dataclass(frozen=True)
class Cell:
    """One comparison of a claim.

    Attributes
    ----------
    place : Place
        Data set, metric and rate.
    first, second : str
        What is compared: the system, and its rival or what stands in its place.
    gain, lo, hi : float
        Mean gain and its interval; nan in an empty cell.
    n : int
        Seeds.
    is_won, is_sure, is_lost : bool
        As the head of ``claims.toml`` defines them.
    won_draws : array of float, shape (B,)
        1 where the cell is won in a resample, else 0.
    """

    place: Place
    first: str
    second: str
    gain: float
    lo: float
    hi: float
    n: int
    is_won: bool
    is_sure: bool
    is_lost: bool
    won_draws: Floats

    @property
    def is_empty(self) -> bool:
        """Whether the metric is not defined for one of the systems."""
        return bool(np.isnan(self.gain))


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


class Evidence:
    """Published runs of one feature view, read and scored as they are asked for.

    Parameters
    ----------
    view : str
        Feature view of the runs.
    results : Path, optional
        Folder of published results; the repository's when left out.

    Raises
    ------
    MissingData
        On scoring, if the labels are not on this machine.
    """

    def __init__(self, view: str, results: Path | None = None) -> None:
        self.view, self.results = view, results
        self.runs = load_runs(results=results).set_index("run_id")
        named = ["dataset", "model", "variant", "missing_rate", "seed"]
        self._named = set(self.runs[named].itertuples(index=False, name=None))
        self._scored: dict[str, Scored] = {}
        self._predictions: dict[tuple[str, str], Mapping[str, np.ndarray]] = {}
        self._truth: dict[str, np.ndarray] = {}

    def run_id(
        self, dataset: str, system: str, rate: float, seed: int, **fields: bool
    ) -> str:
        """Return the id that this run has, published or not."""
        return config_of(dataset, self.view, system, rate, seed, **fields).run_id

    def seeds(
        self,
        dataset: str,
        systems: Iterable[str],
        rates: Sequence[float],
        **fields: bool,
    ) -> tuple[int, ...]:
        """Return the seeds that were run with all systems at all rates."""
        names = list(systems)
        return tuple(
            seed
            for seed in FIVE_SEEDS
            if all(
                self._has(dataset, name, rate, seed, **fields)
                for name in names
                for rate in rates
            )
        )

    def _has(
        self, dataset: str, system: str, rate: float, seed: int, **fields: bool
    ) -> bool:
        # Most runs that are not there have not even a namesake, which costs no hash.
        if (dataset, *parse_system(system), rate, seed) not in self._named:
            return False
        return self.run_id(dataset, system, rate, seed, **fields) in self.runs.index

    def rounds(self, dataset: str, systems: Sequence[str], rate: float) -> pd.DataFrame:
        """Return the seconds of an epoch of systems, by round of one session."""
        named = [parse_system(system) for system in systems]
        found = shared_rounds(self._times, dataset, self.view, named, rate)
        return found.set_axis(list(systems), axis=1)

    @cached_property
    def _times(self) -> pd.DataFrame:
        return load_table(EPOCH_TIMES, self.results)

    def number(
        self, place: Place, system: str, seeds: Sequence[int]
    ) -> tuple[Floats, Floats]:
        """Return a metric along its rates for each seed, the larger the better.

        Returns
        -------
        values : array, shape (R,)
            On the real test split.
        scores : array, shape (B, R)
            On every draw of clips.
        """
        ids = [
            [self.run_id(place.dataset, system, rate, seed) for rate in rates]
            for seed in seeds
            for rates in [rates_of(place.at)]
        ]
        cells = [
            [self._score(place.dataset, system, run) for run in row] for row in ids
        ]
        sign = 1.0 if METRICS[place.metric].higher_is_better else -1.0
        values = [[c.values[place.metric][0] for c in row] for row in cells]
        scores = [[c.scores[place.metric][:, 0] for c in row] for row in cells]
        stacked = np.moveaxis(np.array(scores), -1, 0)  # (R, S, B) to (B, R, S)
        return (
            np.asarray(along(place.at, sign * np.array(values))),
            np.asarray(along(place.at, sign * stacked)),
        )

    def losses(
        self, dataset: str, system: str, rate: float, seeds: Sequence[int]
    ) -> list[Floats]:
        """Return the total training loss of every epoch, one array per seed."""
        model, _ = parse_system(system)
        curves = load_curves(dataset, model, self.results)
        total = curves[(curves["split"] == "train") & (curves["term"] == "total")]
        ids = [self.run_id(dataset, system, rate, seed) for seed in seeds]
        rows = [total[total["run_id"] == run].sort_values("epoch") for run in ids]
        return [row["value"].to_numpy(dtype=float) for row in rows]

    def _score(self, dataset: str, system: str, run_id: str) -> Scored:
        if run_id not in self._scored:
            key = (dataset, parse_system(system)[0])
            if key not in self._predictions:
                self._predictions[key] = load_predictions(*key, self.results)
            self._scored[run_id] = scored(
                [self._predictions[key][run_id]],
                self._labels(dataset),
                source(dataset, self.view).scale,
                resamples=rules().resamples,
            )
        return self._scored[run_id]

    def _labels(self, dataset: str) -> np.ndarray:
        if dataset not in self._truth:
            data = load(dataset, self.view)
            self._truth[dataset] = data.splits["test"].labels.numpy()
        return self._truth[dataset]


EPOCH_TIMES = "benchmarks/rates"
"""Table of the seconds of an epoch that ``python -m msa bench rates`` measures."""

SESSION = ("device", "device_name", "threads", "commit", "session")
"""Columns that say which times were measured together, one right after the other."""


def shared_rounds(
    times: pd.DataFrame,
    dataset: str,
    view: str,
    systems: Sequence[tuple[str, str]],
    rate: float,
) -> pd.DataFrame:
    """Pick the rounds in which one session measured all of some systems.

    Times of two sessions do not compare: machine, threads or code may differ, and what
    else the machine did then.

    Parameters
    ----------
    times : DataFrame
        The table ``EPOCH_TIMES``; may be empty.
    dataset, view : str
    systems : sequence of (str, str)
        Model and variant of each.
    rate : float
        Missing rate.

    Returns
    -------
    DataFrame
        Seconds by ``SESSION`` and round, one column per system in their order, of the
        session that has the most rounds of all of them (of several, the last); empty if
        no session has one.
    """
    columns = [_times_of(times, dataset, view, *system, rate) for system in systems]
    table = pd.concat(columns, axis=1, keys=range(len(columns)), join="inner")
    if table.empty:
        return table
    return _largest(table.groupby(level=list(SESSION)))


def one_session(times: pd.DataFrame) -> pd.DataFrame:
    """Keep the times that were measured together.

    Parameters
    ----------
    times : DataFrame
        Rows of the table ``EPOCH_TIMES``; may be empty.

    Returns
    -------
    DataFrame
        The rows of the session with the most of them, of several the last.
    """
    if times.empty:
        return times
    return _largest(_named(times).groupby(list(SESSION)))


def _named(times: pd.DataFrame) -> pd.DataFrame:
    """Fill the columns of a session: rows from before it was named have the commit."""
    there = times.reindex(columns=[*dict.fromkeys([*times.columns, *SESSION])])
    return there.assign(**{c: there[c].astype(object).fillna("") for c in SESSION})


def _largest(sessions: Iterable[tuple[tuple, pd.DataFrame]]) -> pd.DataFrame:
    """Return the session with the most rows, of several the one that began last."""
    began = SESSION.index("session")
    return max(sessions, key=lambda each: (len(each[1]), each[0][began]))[1]


def _times_of(
    times: pd.DataFrame, dataset: str, view: str, model: str, variant: str, rate: float
) -> pd.Series:
    where = {"dataset": dataset, "view": view, "model": model, "variant": variant}
    where |= {"encoder_mode": "frozen", "missing_rate": rate}
    keys = [*SESSION, "round"]
    times = times.reindex(columns=[*where, *keys, "seconds_per_epoch"])
    for column, value in where.items():
        times = times[times[column] == value]
    return _named(times).set_index(keys)["seconds_per_epoch"]


def epoch_times(
    times: pd.DataFrame, dataset: str, view: str, model: str, variant: str, rate: float
) -> pd.Series:
    """Pick the measured seconds of an epoch of one system at one missing rate.

    Parameters
    ----------
    times : DataFrame
        The table ``EPOCH_TIMES``; may be empty.
    dataset, view, model, variant : str
    rate : float
        Missing rate.

    Returns
    -------
    Series
        Seconds by device, its name, threads and round, of one session; empty if nothing
        was measured.
    """
    found = shared_rounds(times, dataset, view, [(model, variant)], rate)
    return found[0].droplevel(["commit", "session"])


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
    cells = _CELLS[claim.kind](claim, evidence)
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
    fields = _fields(claim)
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
            found = len(evidence.seeds(dataset, [system], [rate], **_fields(claim)))
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


def _fields(claim: Claim) -> dict[str, bool]:
    """Return what the runs of a claim have besides the defaults."""
    return {"reconstruction_error": True} if claim.kind == "restores" else {}


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
    fields = _fields(claim)
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
    cells = _CELLS[claim.kind](claim, evidence)
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
    cells = _faster(claim.model_copy(update={"at": measured}), evidence)
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
        counts.append(f"{metric.removeprefix(_ERROR)} {sum(own)} of {len(own)}")
    return ", ".join(counts)


def _share_interval(cells: Sequence[Cell]) -> tuple[float, float]:
    """Return the interval of the share of won cells, all cells drawn together."""
    drawn = [cell.won_draws for cell in cells]
    if not all(draws.size for draws in drawn):
        return np.nan, np.nan
    return interval(np.mean(drawn, axis=0), rules().level)


def _effect_of(cell: Cell) -> dict[str, object]:
    unit = cell.place.metric or "seconds"
    return {"effect": cell.gain, "lo": cell.lo, "hi": cell.hi, "unit": unit}


def _versus(cell: Cell) -> str:
    return f"{cell.first} against {cell.second} on {cell.place}"


# --- cells by kind --------------------------------------------------------------------


def _better(claim: Claim, evidence: Evidence) -> list[Cell]:
    found = []
    for place in places(claim):
        pairs = [
            _gains(place, claim.system, rival, claim.systems, evidence)
            for rival in claim.rivals
        ]
        names = zip(claim.rivals, pairs, strict=True)
        if claim.against == "each":
            found += [_cell(place, claim.system, name, *pair) for name, pair in names]
            continue
        # The hardest rival is another one in another draw: it has to beat them all.
        draws = np.min([drawn for _, drawn in pairs], axis=0)
        means = [gains.mean() for gains, _ in pairs]
        hardest = int(np.argmin(means))  # one that is not defined, if there is any
        name, gains = claim.rivals[hardest], pairs[hardest][0]
        found.append(_cell(place, claim.system, name, gains, draws))
    return found


def _order(claim: Claim, evidence: Evidence) -> list[Cell]:
    return [
        _cell(
            *(place, first, second),
            *_gains(place, first, second, claim.systems, evidence),
        )
        for place in places(claim)
        for first, second in claim.pairs
    ]


def _gains(
    place: Place,
    first: str,
    second: str,
    systems: Sequence[str],
    evidence: Evidence,
) -> tuple[Floats, Floats]:
    """Compare two systems on the seeds that all systems of the claim have.

    Returns
    -------
    gains : array, shape (R,)
        On the real test split, by seed.
    draws : array, shape (B,)
        Mean gain in every resample.
    """
    seeds = evidence.seeds(place.dataset, systems, rates_of(place.at))
    ours, our_scores = evidence.number(place, first, seeds)
    theirs, their_scores = evidence.number(place, second, seeds)
    return ours - theirs, _drawn_mean(our_scores - their_scores)


def _value(claim: Claim, evidence: Evidence) -> list[Cell]:
    printed = _printed(claim)
    found = []
    for place in places(claim):
        target = printed.get((place.dataset, place.metric, place.at), np.nan)
        if np.isnan(target):  # the table has a dash or no such cell
            continue
        metric = place.metric + ("_swapped" if "F1" in place.metric else "")
        place = Place(place.dataset, metric, place.at)
        sign = 1.0 if METRICS[metric].higher_is_better else -1.0
        seeds = evidence.seeds(place.dataset, claim.systems, rates_of(place.at))
        values, scores = evidence.number(place, claim.system, seeds)
        off, draws = sign * values - target, sign * _drawn_mean(scores) - target
        reach = rules().tolerance(metric, source(place.dataset).scale) + TIE
        lo, hi = interval(draws, rules().level)
        found.append(
            Cell(
                *(place, claim.system, "printed", float(off.mean()), lo, hi),
                n=len(seeds),
                is_won=bool(abs(off.mean()) <= reach),
                is_sure=bool(-reach <= lo and hi <= reach),
                is_lost=bool(lo > reach or hi < -reach),
                won_draws=(np.abs(draws) <= reach).astype(float),
            )
        )
    return found


def _printed(claim: Claim) -> dict[tuple[str, str, object], float]:
    """Return the paper's own row of a table, by data set, metric and rate."""
    cells = published()
    own = cells[
        (cells["paper"] == claim.paper)
        & (cells["table"] == claim.table)
        & (cells["model"] == "Ours")
    ]
    names = {printed: name for name, printed in PRINTED_NAMES.items()}
    at = own["rate"].astype(object)
    at = at.where(own["rate"].notna(), places(claim)[0].at)
    keys = zip(own["dataset"].map(names), own["key"], at, strict=True)
    return dict(zip(keys, own["score"], strict=True))


def _undefined(claim: Claim, evidence: Evidence) -> list[Cell]:
    found = []
    for place in places(claim):
        seeds = evidence.seeds(place.dataset, claim.systems, rates_of(place.at))
        values, _ = evidence.number(place, claim.system, seeds)
        share = float(np.isnan(values).mean())
        found.append(
            _without_draws(place, claim.system, share, len(seeds), share > 0.5)
        )
    return found


def _faster(claim: Claim, evidence: Evidence) -> list[Cell]:
    """Return one cell per pair and rate: seconds saved, paired by round."""
    found = []
    for place in places(claim):
        seconds = evidence.rounds(place.dataset, claim.systems, place.at)
        for first, second in claim.pairs:
            saved = (seconds[second] - seconds[first]).to_numpy()
            draws = _drawn_mean(np.tile(saved, (rules().resamples, 1)))
            found.append(_cell(place, first, second, saved, draws))
    return found


def _training(claim: Claim, evidence: Evidence) -> list[Cell]:
    """Return one cell per run, won if its loss behaves as claimed."""
    is_as_claimed = {"converges": has_converged, "flat": is_flat}[claim.kind]
    found = []
    for place in places(claim):
        seeds = evidence.seeds(place.dataset, claim.systems, rates_of(place.at))
        losses = evidence.losses(place.dataset, claim.system, place.at, seeds)
        for seed, loss in zip(seeds, losses, strict=True):
            won = is_as_claimed(loss)
            name = f"{claim.system}, seed {seed}"
            found.append(_without_draws(place, name, float(won), len(seeds), won))
    won = np.array([cell.is_won for cell in found], dtype=float)
    counts = run_counts(len(found), rules().resamples)
    return [
        _with(cell, won_draws=counts[:, i] * won[i]) for i, cell in enumerate(found)
    ]


def _restores(claim: Claim, evidence: Evidence) -> list[Cell]:
    """Return one cell per rate and modality: the best imputation minus the model."""
    errors = load_reconstructions(results=evidence.results)
    errors = errors[errors["metric"] == "rmse"]
    found = []
    for place in places(claim):
        where = (place.dataset, claim.system, place.at)
        seeds = evidence.seeds(where[0], [where[1]], [where[2]], **_fields(claim))
        ids = [evidence.run_id(*where, seed, **_fields(claim)) for seed in seeds]
        own = errors[errors["run_id"].isin(ids)]
        own = own[np.isclose(own["missing_rate"], place.at)]
        for modality, rows in own.groupby("modality", sort=False):
            table = rows.pivot(index="run_id", columns="method", values="value")
            best = table[list(IMPUTATIONS)].mean().idxmin()
            gains = (table[best] - table["model"]).loc[ids].to_numpy()
            draws = _drawn_mean(np.tile(gains, (rules().resamples, 1)))
            there = Place(place.dataset, _ERROR + modality, place.at)
            found.append(_cell(there, claim.system, best, gains, draws))
    return found


def has_converged(loss: Floats) -> bool:
    """Whether a training loss has come down and then hardly moves.

    Parameters
    ----------
    loss : array of float, shape (epochs,)

    Returns
    -------
    bool
        True if the last value is below the first, and the mean of the last fifth of the
        epochs lies within a tenth of that way of the mean of the fifth before it.
    """
    fifth = max(1, len(loss) // 5)
    if len(loss) < 2 * fifth or loss[-1] >= loss[0]:
        return False
    late, before = loss[-fifth:].mean(), loss[-2 * fifth : -fifth].mean()
    return bool(abs(late - before) < 0.1 * (loss[0] - loss[-1]))


def is_flat(loss: Floats) -> bool:
    """Whether a training loss ends within a tenth of its first value."""
    return bool(len(loss) and abs(loss[-1] - loss[0]) <= 0.1 * abs(loss[0]))


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


_CELLS: dict[str, Callable[[Claim, Evidence], list[Cell]]] = {
    "better": _better,
    "order": _order,
    "gain": _better,
    "value": _value,
    "undefined": _undefined,
    "converges": _training,
    "flat": _training,
    "faster": _faster,
    "restores": _restores,
}


def _drawn_mean(scores: Floats) -> Floats:
    """Mean over drawn runs in every resample, (B, R) to (B,)."""
    return mean_over_runs(scores, run_counts(scores.shape[1], rules().resamples))


def _cell(place: Place, first: str, second: str, gains: Floats, draws: Floats) -> Cell:
    gain = float(gains.mean())
    lo, hi = (np.nan, np.nan) if np.isnan(gain) else interval(draws, rules().level)
    return Cell(
        *(place, first, second, gain, lo, hi, len(gains)),
        is_won=gain > TIE,
        is_sure=bool(lo > TIE),
        is_lost=bool(hi < -TIE),
        won_draws=(draws > TIE).astype(float),
    )


def _without_draws(place: Place, first: str, gain: float, n: int, won: bool) -> Cell:
    nothing = np.empty(0)
    return Cell(place, first, "", gain, np.nan, np.nan, n, won, False, False, nothing)


def _with(cell: Cell, won_draws: Floats) -> Cell:
    return Cell(**{**vars(cell), "won_draws": won_draws})
