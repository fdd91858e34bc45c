"""The comparisons behind a claim, by its kind.

Array convention as in :mod:`msa.study.stats`: ``R`` runs (seeds), ``B`` resamples.
Scores are turned so that larger is better before anything is compared: MAE enters with
a minus sign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from msa.data.published import PRINTED_NAMES, published
from msa.data.registry import source
from msa.study.claims import Claim, Place, places, rates_of, rules, run_fields
from msa.study.evidence import Evidence
from msa.study.results import load_reconstructions
from msa.study.stats import (
    TIE,
    Floats,
    interval,
    mean_over_runs,
    run_counts,
    run_weights,
    student_draws,
)
from msa.train.metrics import METRICS

IMPUTATIONS = ("zero", "mean", "last")
"""What a reconstruction has to beat."""

ERROR_OF = "RMSE of "
"""In front of a modality: what the cells of a reconstruction compare."""


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
        Mean gain and its interval; nan in an empty cell. Against several rivals the
        gain over the hardest: ``lo`` is that of the smallest gain in every resample,
        ``hi`` the smallest upper bound that any rival's own gain has, at a level
        corrected for the number of rivals. The smallest of several noisy gains lies
        below the true one, so its own upper bound would count against the system.
    n : int
        Seeds.
    is_won, is_sure, is_lost : bool
        As the head of ``claims.toml`` defines them.
    won_draws : array of float, shape (B,)
        1 where the cell is won in a resample, every rival beaten; else 0.
    won_at_best : array of float, shape (B,)
        The same against the hardest rival on the real clips alone.
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
    won_at_best: Floats

    @property
    def is_empty(self) -> bool:
        """Whether the metric is not defined for one of the systems."""
        return bool(np.isnan(self.gain))


def _better(claim: Claim, evidence: Evidence) -> list[Cell]:
    found = []
    for place in places(claim):
        pairs = [
            _gains(place, claim.system, rival, claim.systems, evidence)
            for rival in claim.rivals
        ]
        names = zip(claim.rivals, pairs, strict=True)
        if claim.against == "each":
            found += [
                gain_cell(place, claim.system, name, *pair) for name, pair in names
            ]
            continue
        found.append(hardest_cell(place, claim.system, claim.rivals, pairs))
    return found


def hardest_cell(
    place: Place,
    system: str,
    rivals: Sequence[str],
    pairs: Sequence[tuple[Floats, Floats]],
) -> Cell:
    """Make the cell of a system and the hardest of its rivals.

    Parameters
    ----------
    place : Place
    system : str
    rivals : sequence of str
    pairs : sequence of (gains, draws)
        By rival: gains over it by seed (R,), mean gain in every resample (B,).
    """
    means = [gains.mean() for gains, _ in pairs]
    hardest = int(np.argmin(means))  # one that is not defined, if there is any
    gains, alone = pairs[hardest]
    # The hardest rival is another one in another draw: it has to beat them all.
    cell = gain_cell(
        place,
        system,
        rivals[hardest],
        gains,
        np.min([drawn for _, drawn in pairs], axis=0),
    )
    if cell.is_empty:
        return cell
    level = 1 - (1 - rules().level) / len(rivals)
    hi = min(interval(drawn, level)[1] for _, drawn in pairs)
    at_best = (alone > TIE).astype(float)
    return replace(cell, hi=hi, is_lost=bool(hi < -TIE), won_at_best=at_best)


def _order(claim: Claim, evidence: Evidence) -> list[Cell]:
    return [
        gain_cell(
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
        inside = (np.abs(draws) <= reach).astype(float)
        lo, hi = interval(draws, rules().level)
        found.append(
            Cell(
                *(place, claim.system, "printed", float(off.mean()), lo, hi),
                n=len(seeds),
                is_won=bool(abs(off.mean()) <= reach),
                is_sure=bool(-reach <= lo and hi <= reach),
                is_lost=bool(lo > reach or hi < -reach),
                won_draws=inside,
                won_at_best=inside,
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
            draws = student_draws(saved, rules().resamples)
            found.append(gain_cell(place, first, second, saved, draws))
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
    drawn = [counts[:, i] * won[i] for i in range(len(found))]
    return [
        replace(cell, won_draws=draws, won_at_best=draws)
        for cell, draws in zip(found, drawn, strict=True)
    ]


def _restores(claim: Claim, evidence: Evidence) -> list[Cell]:
    """Return one cell per rate and modality: the best imputation minus the model."""
    errors = load_reconstructions(results=evidence.results)
    errors = errors[errors["metric"] == "rmse"]
    found = []
    for place in places(claim):
        where = (place.dataset, claim.system, place.at)
        seeds = evidence.seeds(where[0], [where[1]], [where[2]], **run_fields(claim))
        ids = [evidence.run_id(*where, seed, **run_fields(claim)) for seed in seeds]
        own = errors[errors["run_id"].isin(ids)]
        own = own[np.isclose(own["missing_rate"], place.at)]
        for modality, rows in own.groupby("modality", sort=False):
            table = rows.pivot(index="run_id", columns="method", values="value")
            best = table[list(IMPUTATIONS)].mean().idxmin()
            gains = (table[best] - table["model"]).loc[ids].to_numpy()
            draws = student_draws(gains, rules().resamples)
            there = Place(place.dataset, ERROR_OF + modality, place.at)
            found.append(gain_cell(there, claim.system, best, gains, draws))
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


_KINDS: dict[str, Callable[[Claim, Evidence], list[Cell]]] = {
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


def compare(claim: Claim, evidence: Evidence) -> list[Cell]:
    """Return every comparison of a claim, on the seeds that all its systems have."""
    return _KINDS[claim.kind](claim, evidence)


def _drawn_mean(scores: Floats) -> Floats:
    """Mean over runs in every resample, (B, R) to (B,)."""
    return mean_over_runs(scores, run_weights(scores.shape[1], rules().resamples))


def gain_cell(
    place: Place, first: str, second: str, gains: Floats, draws: Floats
) -> Cell:
    """Make the cell of two systems from their gains.

    Parameters
    ----------
    place : Place
    first, second : str
    gains : array, shape (R,)
        Of the first over the second on the real test split, by seed.
    draws : array, shape (B,)
        Mean gain in every resample.
    """
    gain, won = float(gains.mean()), (draws > TIE).astype(float)
    lo, hi = (np.nan, np.nan) if np.isnan(gain) else interval(draws, rules().level)
    return Cell(
        *(place, first, second, gain, lo, hi, len(gains)),
        is_won=gain > TIE,
        is_sure=bool(lo > TIE),
        is_lost=bool(hi < -TIE),
        won_draws=won,
        won_at_best=won,
    )


def _without_draws(place: Place, first: str, gain: float, n: int, won: bool) -> Cell:
    nothing = np.empty(0)
    return Cell(
        *(place, first, "", gain, np.nan, np.nan, n),
        is_won=won,
        is_sure=False,
        is_lost=False,
        won_draws=nothing,
        won_at_best=nothing,
    )
