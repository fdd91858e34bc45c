"""Estimates with intervals: a seeded bootstrap over runs and clips together.

Array convention, everywhere in this module:

=============  ================================================================
``R``          runs (seeds) of one system in one cell of a table
``N``          clips of the test split, the same and in the same order in all
``V``          videos that these clips were cut from
``B``          bootstrap resamples
``S``          missing rates of a sweep
predictions    (R, N): one row per run
truth          (N,)
scores         (B, R): a metric of every run on every draw of clips
=============  ================================================================

Two things are random in a table cell: which seeds were run, and which clips happen to
be in the test split. A resample draws both anew, with replacement. Clips come in
videos: those of one video share a speaker, and in the clip-context view even steps, so
that a resample draws whole videos. All runs are scored on the same drawn clips, because
all of them answer for the same test split: a run is not a fresh sample of clips. With
one run only the clips vary, and the interval says nothing about seeds. Drawing a few
runs again understates how much they vary, so what a resample changes is stretched
(:func:`run_weights`); how little three runs tell of their own variation is left, and
every table shows its ``n``. Where there is no score by clip, and seeds alone
vary, resampling three values could give no more than their range: there the mean is
drawn from Student's distribution (:func:`student_draws`).

A metric that is not defined in one run of a cell is not defined for the cell.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msa.train.metrics import auilc, metric_keys, mwa, score, score_resamples

RESAMPLES = 10_000
"""Bootstrap resamples behind every published interval.

The bounds are quantiles of a finite sample themselves: with this many, another seed of
the draws moves one by some 0.7 % of the interval's width (standard deviation, where the
distribution is normal); with 1000 it was 2 %, and bounds that lie near 0 changed sides.
"""

LEVEL = 0.95
"""Coverage of every published interval."""

TIE = 1e-9
"""Differences up to this are a tie: rounding sets equal means some 1e-17 apart, and a
real difference is far larger (one clip in ten thousand moves an accuracy by 1e-4)."""

Floats = NDArray[np.float64]


def ties_as_zero(differences: ArrayLike) -> Floats:
    """Set differences that are a tie (``TIE``) to 0, so that signs tell who is ahead.

    Parameters
    ----------
    differences : array of float, any shape
        nan stays nan.
    """
    differences = np.asarray(differences, dtype=float)
    return np.where(np.abs(differences) <= TIE, 0.0, differences)


@dataclass(frozen=True)
class Estimate:
    """What is known of a quantity from ``n`` runs.

    Attributes
    ----------
    n : int
        Runs.
    mean : float
        Mean over runs; nan if the quantity is not defined in any one of them.
    sd : float
        Standard deviation between runs (ddof 1); nan for a single run.
    lo, hi : float
        Bounds of the 95 % percentile interval over runs and clips.
    undefined : int
        Runs in which the quantity is not defined, such as Corr of a constant.
    """

    n: int
    mean: float
    sd: float
    lo: float
    hi: float
    undefined: int = 0


def draw_counts(rng: np.random.Generator, size: int, resamples: int) -> Floats:
    """How often each of ``size`` units is in each resample, shape (B, size)."""
    rows = rng.integers(size, size=(resamples, size))
    rows += size * np.arange(resamples)[:, None]  # counted in one pass, apart
    counts = np.bincount(rows.ravel(), minlength=size * resamples)
    return counts.reshape(resamples, size).astype(float)


@lru_cache(maxsize=4)
def clip_counts(
    videos: tuple[Hashable, ...], resamples: int = RESAMPLES, seed: int = 0
) -> Floats:
    """Draws of clips, (B, N): whole videos, the same for all systems, so they pair.

    Parameters
    ----------
    videos : tuple, length N
        What each clip was cut from; clips of one video are drawn together.
    resamples, seed : int
    """
    place = {video: number for number, video in enumerate(dict.fromkeys(videos))}
    drawn = draw_counts(np.random.default_rng([seed, 0]), len(place), resamples)
    counts = drawn[:, [place[video] for video in videos]]
    counts.flags.writeable = False
    return counts


@lru_cache(maxsize=32)
def run_counts(
    runs: int, resamples: int = RESAMPLES, seed: int = 0, system: int = 0
) -> Floats:
    """Draws of runs, shape (B, R), independent of those of clips and other systems."""
    counts = draw_counts(np.random.default_rng([seed, 1 + system]), runs, resamples)
    counts.flags.writeable = False
    return counts


def run_weights(runs: int, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Weights of runs in every resample, (B, R); they add up to ``R``.

    The mean of ``R`` values drawn again from ``R`` has their variance over ``R - 1``
    too small by a factor of (R - 1) / R: a third with three. How often each was drawn
    is therefore moved away from once by sqrt(R / (R - 1)), which makes up for it (the
    rescaled bootstrap of Rao and Wu, 1988). A run that is not drawn has a weight below
    0, so these serve means; shares of runs are counted with :func:`run_counts`.

    Parameters
    ----------
    runs, resamples : int
        R and B. A single run weighs 1 in every resample.
    seed : int
        Of the draws.

    Returns
    -------
    array of float, shape (B, R)
    """
    counts = run_counts(runs, resamples, seed)
    return 1 + np.sqrt(runs / max(runs - 1, 1)) * (counts - 1)


def student_draws(values: ArrayLike, resamples: int = RESAMPLES) -> Floats:
    """Spread the mean of few values over Student's distribution, shape (B,).

    The draws are its quantiles in steps of equal probability, so their percentile
    interval is the t-interval of the mean. Another set of values gets the same draws,
    scaled and shifted: as if all erred together, which makes an interval of how many of
    them are positive the widest.

    Parameters
    ----------
    values : array of float, shape (R,)
        One per run; nan for all draws if there is one alone, or one is nan.
    resamples : int

    Returns
    -------
    array of float, shape (B,)
        In rising order.
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return np.full(resamples, np.nan)
    from scipy.stats import t as student  # here: it loads slowly

    error = values.std(ddof=1) / np.sqrt(len(values))
    shares = (np.arange(resamples) + 0.5) / resamples
    return values.mean() + error * student.ppf(shares, len(values) - 1)


REDRAWN = 0.007
"""What another draw of the resamples moves a bound by, as a share of the interval."""


def side_of_zero(lo: ArrayLike, hi: ArrayLike) -> NDArray[np.int_]:
    """Return on which side of 0 intervals lie: 1, -1, or 0 where it is not told.

    It is not where 0 is inside, or so near to a bound that another draw of the
    resamples could put it inside (:data:`REDRAWN`).

    Parameters
    ----------
    lo, hi : array of float, shape (N,)
        Bounds, in one unit.

    Returns
    -------
    array of int, shape (N,)

    Examples
    --------
    >>> side_of_zero([0.1, 0.001, -3.0], [1.1, 1.001, -0.5])
    array([ 1,  0, -1])
    """
    lo, hi = np.asarray(lo, dtype=float), np.asarray(hi, dtype=float)
    margin = REDRAWN * (hi - lo)
    return (lo > margin).astype(int) - (hi < -margin).astype(int)


def student_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return the t-interval of the mean of few values.

    Parameters
    ----------
    values : array of float, shape (R,)
    level : float

    Returns
    -------
    lo, hi : float
        In the unit of the values; nan for fewer than two.

    Examples
    --------
    >>> student_interval([1.0, 2.0, 3.0])[1].round(3)
    4.484
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return np.nan, np.nan
    from scipy.stats import t as student  # here: it loads slowly

    error = values.std(ddof=1) / np.sqrt(len(values))
    reach = error * student.ppf((1 + level) / 2, len(values) - 1)
    return values.mean() - reach, values.mean() + reach


def run_scores(
    predictions: ArrayLike, truth: ArrayLike, scale: str
) -> dict[str, Floats]:
    """Every metric of every run on the real test split, each of shape (R,).

    A clip that a run did not evaluate (prediction NaN: a released variant drops its
    last incomplete batch) counts in none of that run's metrics.
    """
    truth = np.asarray(truth)
    runs = [
        score(row[done], truth[done], scale)
        for row in _runs(predictions, truth)
        for done in [~np.isnan(row)]
    ]
    return {key: np.array([run[key] for run in runs]) for key in metric_keys(scale)}


def resampled_scores(
    predictions: ArrayLike, truth: ArrayLike, scale: str, counts: Floats
) -> dict[str, Floats]:
    """Every metric of every run on every draw of clips, each of shape (B, R)."""
    truth, counts = np.asarray(truth), np.asarray(counts)
    runs = [
        score_resamples(row[done], truth[done], scale, counts[:, done])
        for row in _runs(predictions, truth)
        for done in [_finite(row)]
    ]
    return {key: np.stack([run[key] for run in runs], 1) for key in metric_keys(scale)}


def mean_over_runs(scores: Floats, weights: Floats) -> Floats:
    """Weighted mean of the runs in every resample: (B, ..., R), (B, R) to (B, ...)."""
    shape = (len(weights), *(1,) * (scores.ndim - 2), weights.shape[1])
    return (scores * weights.reshape(shape)).sum(-1) / weights.shape[1]


def interval(distribution: ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of a bootstrap distribution of shape (B,).

    Resamples without a value (a correlation where all drawn predictions happen to be
    equal) are left out; without any value the interval is (nan, nan).
    """
    defined = np.asarray(distribution)[~np.isnan(distribution)]
    if not defined.size:
        return np.nan, np.nan
    lo, hi = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(lo), float(hi)


def summarise(values: ArrayLike, distribution: ArrayLike) -> Estimate:
    """Mean, spread and interval of a quantity with one value per run.

    Parameters
    ----------
    values : array of float, shape (R,)
        The quantity in every run.
    distribution : array of float, shape (B,)
        Its mean over runs in every resample.
    """
    values = np.asarray(values, dtype=float)
    undefined = int(np.isnan(values).sum())
    if undefined:
        return Estimate(len(values), np.nan, np.nan, np.nan, np.nan, undefined)
    sd = float(values.std(ddof=1)) if len(values) > 1 else np.nan
    return Estimate(len(values), float(values.mean()), sd, *interval(distribution))


@dataclass(frozen=True)
class Scored:
    """The runs of one system in one cell, scored.

    Attributes
    ----------
    values : dict of str to array of float, shape (R,)
        Every metric of every run on the real test split.
    scores : dict of str to array of float, shape (B, R)
        The same on every draw of clips.
    draws : tuple of int
        Clips, videos, resamples and seed: what decides which clips were drawn.
    """

    values: dict[str, Floats]
    scores: dict[str, Floats]
    draws: tuple[int, int, int, int]


def scored(
    predictions: ArrayLike,
    truth: ArrayLike,
    scale: str,
    videos: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scored:
    """Score runs once, for any number of estimates.

    Parameters
    ----------
    predictions : array of float, shape (R, N)
        Test predictions of the runs.
    truth : array of float, shape (N,)
        Labels.
    scale : {"mosi", "sims"}
        Label scale.
    videos : sequence, length N, optional
        The video of each clip (:func:`msa.data.contract.video_of`); every clip by
        itself when left out.
    resamples, seed : int
        Of the bootstrap; the same seed gives the same draws.

    Raises
    ------
    ValueError
        If the shapes do not fit or values are not finite.
    """
    videos = tuple(range(np.size(truth)) if videos is None else videos)
    return Scored(
        run_scores(predictions, truth, scale),
        resampled_scores(
            predictions, truth, scale, clip_counts(videos, resamples, seed)
        ),
        (len(videos), len(set(videos)), resamples, seed),
    )


def together(runs: Sequence[Scored]) -> Scored:
    """Put runs that were scored one by one into one cell.

    Raises
    ------
    ValueError
        If they were scored on different clips or draws.
    """
    _same_draws(*runs)
    return Scored(
        {k: np.concatenate([run.values[k] for run in runs]) for k in runs[0].values},
        {k: np.concatenate([run.scores[k] for run in runs], 1) for k in runs[0].scores},
        runs[0].draws,
    )


def estimate(cell: Scored) -> dict[str, Estimate]:
    """Every metric of one table cell with its interval, by metric key."""
    return {
        key: summarise(values, mean_over_runs(cell.scores[key], _weights(cell, key)))
        for key, values in cell.values.items()
    }


AGGREGATES = {
    "AUILC": auilc,
    "MWA/10": lambda values, rates: mwa(values, rates, 10),
    "MWA/11": lambda values, rates: mwa(values, rates, 11),
}
"""What is computed from a metric at all missing rates, by name."""


def estimate_sweep(
    cells: Sequence[Scored], rates: ArrayLike
) -> dict[tuple[str, str], Estimate]:
    """AUILC and MWA of every metric with their intervals.

    A seed is drawn with all of its rates, and all rates are scored on the same drawn
    clips, so the interval respects that a sweep is one experiment.

    Parameters
    ----------
    cells : sequence of Scored, length S
        One per rate, in the order of ``rates``; run ``r`` has the same seed in all.
    rates : array of float, shape (S,)
        The missing rates 0.0, 0.1, ..., 1.0.

    Returns
    -------
    dict of (str, str) to Estimate
        By aggregate (a key of ``AGGREGATES``) and metric.

    Raises
    ------
    ValueError
        If the cells differ in runs, clips or draws, or the rates are others.
    """
    _same_draws(*cells)
    _same_runs(*cells)
    found = {}
    for key in cells[0].values:
        curve = np.stack([cell.values[key] for cell in cells], -1)  # (R, S)
        scores = np.stack([cell.scores[key] for cell in cells], 1)  # (B, S, R)
        means = mean_over_runs(scores, _weights(cells[0], key))  # (B, S)
        for name, aggregate in AGGREGATES.items():
            found[name, key] = summarise(
                aggregate(curve, rates), aggregate(means, rates)
            )
    return found


def paired_difference(first: Scored, second: Scored) -> dict[str, Estimate]:
    """First system minus second, on the same clips and seeds.

    Run ``r`` of both systems has the same seed, and a resample draws the same seeds and
    clips for both: what makes a clip hard for both systems cancels.

    Returns
    -------
    dict of str to Estimate
        Difference by metric key, in the metric's own direction: for MAE a negative
        difference favours the first system. Means and bounds that are a tie are 0.

    Raises
    ------
    ValueError
        If the systems differ in runs, clips or draws.
    """
    _same_draws(first, second)
    _same_runs(first, second)
    found = {}
    for key, values in first.values.items():
        gains = first.scores[key] - second.scores[key]  # (B, R)
        means = mean_over_runs(gains, _weights(first, key))
        own = summarise(values - second.values[key], means)
        mean, lo, hi = ties_as_zero([own.mean, own.lo, own.hi]).tolist()
        found[key] = replace(own, mean=mean, lo=lo, hi=hi)
    return found


def holm(p_values: ArrayLike) -> Floats:
    """Adjust p-values for their number (Holm 1979); undefined ones do not count.

    Parameters
    ----------
    p_values : array of float, shape (K,)

    Returns
    -------
    array of float, shape (K,)
        The smallest level of a family at which each is rejected; nan stays nan.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values)  # nan last
    left = np.arange((~np.isnan(values)).sum(), 0, -1)
    ranked = values[order][: len(left)] * left
    adjusted = np.full_like(values, np.nan)
    adjusted[order[: len(left)]] = np.minimum(np.maximum.accumulate(ranked), 1.0)
    return adjusted


def share_better(first: Floats, second: Floats) -> Floats:
    """Share of pairs of runs in which the first is larger: (..., R), (..., Q) to (...).

    A tie counts one half, a pair without a value makes the share nan.
    """
    gain = first[..., :, None] - second[..., None, :]  # (..., R, Q)
    return (0.5 + 0.5 * np.sign(ties_as_zero(gain))).mean((-2, -1))


def probability_of_improvement(
    first: tuple[Floats, Floats],
    second: tuple[Floats, Floats],
    *,
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate:
    """Probability that a run of the first system beats a run of the second.

    The numbers of runs may differ; clips are drawn for both alike, runs for each.

    Parameters
    ----------
    first, second : pair of arrays, shapes (R,) and (B, R)
        A metric of every run, the larger the better: on the real test split, and on
        every draw of clips, which are the same draws for both systems.
    level : float
        Coverage of the interval.
    seed : int
        Of the draws of runs.

    Returns
    -------
    Estimate
        ``mean`` is the share of pairs of runs that the first wins, 0.5 for equals;
        ``n`` counts pairs, and there is no ``sd``.

    Raises
    ------
    ValueError
        If the systems have different numbers of resamples.

    Notes
    -----
    The estimator of Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of
    the Statistical Precipice", with clips resampled besides runs.
    Runs are counted as drawn, not weighted as for means (:func:`run_weights`): with
    few runs the interval is too narrow.
    """
    (ours, our_scores), (theirs, their_scores) = first, second
    resamples = {len(our_scores), len(their_scores)}
    if len(resamples) > 1:
        raise ValueError(
            "these systems were not scored on the same draws of the same clips: they "
            f"have {sorted(resamples)} resamples"
        )
    drawn = [
        np.take_along_axis(
            scores, _chosen(run_counts(scores.shape[1], len(scores), seed, number)), 1
        )
        for number, scores in enumerate((our_scores, their_scores))
    ]
    share = float(share_better(ours, theirs))
    bounds = interval(share_better(*drawn), level)
    return Estimate(
        n=ours.size * theirs.size,
        mean=share,
        sd=np.nan,
        lo=np.nan if np.isnan(share) else bounds[0],
        hi=np.nan if np.isnan(share) else bounds[1],
        undefined=int(np.isnan(ours).sum() + np.isnan(theirs).sum()),
    )


def _weights(cell: Scored, key: str) -> Floats:
    *_, resamples, seed = cell.draws
    return run_weights(cell.values[key].size, resamples, seed)


def _same_draws(*cells: Scored) -> None:
    draws = {cell.draws for cell in cells}
    if len(draws) > 1:
        raise ValueError(
            "these runs were not scored on the same draws of the same clips: (clips, "
            f"videos, resamples, seed) are {sorted(draws)}"
        )


def _same_runs(*cells: Scored) -> None:
    runs = {values.size for cell in cells for values in cell.values.values()}
    if len(runs) > 1:
        raise ValueError(f"pairing needs the same seeds, got {sorted(runs)} runs")


def _chosen(counts: Floats) -> NDArray[np.intp]:
    """Row numbers of the drawn units, (B, R): counts [2, 0, 1] give [0, 0, 2]."""
    resamples, units = counts.shape
    numbers = np.tile(np.arange(units), resamples)
    return np.repeat(numbers, counts.astype(int).ravel()).reshape(resamples, units)


def _finite(row: NDArray) -> NDArray[np.bool_] | slice:
    """Which clips a run evaluated; all of them as a slice, which copies nothing."""
    done = ~np.isnan(row)
    return slice(None) if done.all() else done


def _runs(predictions: ArrayLike, truth: ArrayLike) -> NDArray:
    rows = np.asarray(predictions)
    if rows.ndim != 2 or not rows.size or rows.shape[1:] != np.shape(truth):
        raise ValueError(
            f"predictions must have shape (runs, {np.size(truth)}), got {rows.shape}"
        )
    return rows
