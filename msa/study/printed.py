"""What the papers' own printed numbers say of the papers' claims, by our rules.

A rule that the printed table fails asks for more than the paper showed. So every claim
that compares systems is also put to the printed numbers: the same cells, won by the
same sign, without seeds and intervals. The best rival is the best of those that the
paper prints a number of; a cell without a number of the system counts for nobody. Nor
does an F1 that is printed in other weights than those of the rule, as the audit of the
printed F1 reads them (``results/audit/f1-systems.csv``): two weightings do not compare.
A row whose numbers fit either is read as the other rows of its system.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from msa.data.paths import repo_root
from msa.data.published import PRINTED_NAMES, published, system_of
from msa.study.claims import At, Claim, Place, along, places, rates_of
from msa.study.results import load_table
from msa.study.stats import TIE
from msa.train.metrics import METRICS

COMPARED = ("better", "order", "gain", "faster")
"""Kinds of claims that printed numbers can be put to."""

# Differences of printed numbers are exact up to the rounding of floats.
_EQUAL = 1e-6


class Printed(NamedTuple):
    """Cells of a claim that the paper's printed numbers win, of those it prints."""

    won: int
    compared: int


def printed_cells(claim: Claim) -> Printed:
    """Put a claim to the printed numbers of its paper.

    Returns
    -------
    Printed
        0 of 0 where the claim compares nothing, or nothing that is printed.
    """
    if claim.kind not in COMPARED:
        return Printed(0, 0)
    gains = [gain for place in places(claim) for gain in printed_gains(claim, place)]
    found = [gain for gain in gains if not np.isnan(gain)]
    if claim.kind == "gain":
        won = [abs(gain - (claim.stated or 0.0)) < _EQUAL for gain in found]
    else:
        won = [gain > TIE for gain in found]
    return Printed(sum(won), len(found))


def is_met(claim: Claim, printed: Printed) -> bool:
    """Whether the printed numbers win what the claim's words demand, if any count."""
    if not printed.compared:
        return True
    if claim.quantity == "all" or claim.kind == "gain":
        return printed.won == printed.compared
    return printed.won > printed.compared / 2


def printed_gains(claim: Claim, place: Place) -> list[float]:
    """Return what a claim's system is printed to be ahead, in a place of its tables.

    Parameters
    ----------
    claim : Claim
        Of a kind in :data:`COMPARED`.
    place : Place

    Returns
    -------
    list of float
        As scores are, or in seconds; positive in the claim's favour, nan where a number
        is not printed. One, or one by pair or, against each, by rival.
    """
    if claim.pairs:
        return [_gain(claim, place, *pair) for pair in claim.pairs]
    gains = [_gain(claim, place, str(claim.system), rival) for rival in claim.rivals]
    if claim.against == "each":
        return gains
    return [min((gain for gain in gains if not np.isnan(gain)), default=np.nan)]


def _gain(claim: Claim, place: Place, first: str, second: str) -> float:
    ours, theirs = (_number(claim, place, system) for system in (first, second))
    return ours - theirs


def _number(claim: Claim, place: Place, system: str) -> float:
    """Return a printed number, the larger the better; nan where none is printed."""
    exact = _score(claim, place, system, place.at)
    if not np.isnan(exact) or isinstance(place.at, float):
        return exact
    curve = [_score(claim, place, system, rate) for rate in rates_of(place.at)]
    return float(along(place.at, np.array(curve)))


def _score(claim: Claim, place: Place, system: str, at: At) -> float:
    """Return one printed number by its table, the larger the better."""
    dataset, key = PRINTED_NAMES[place.dataset], place.metric.removesuffix("_swapped")
    tables = _numbers().get((claim.paper, dataset, system, key, at), {})
    if "F1" in key:
        weights = "swapped" if place.metric != key else "correct"
        tables = {
            name: score
            for name, score in tables.items()
            if _reading(claim.paper, name, dataset, system) in (weights, "open")
        }
    score = next(iter(tables.values()), np.nan)
    if any(" w/o " in name for name in claim.systems):
        # The full model stands in the table of the ablation once more.
        score = tables.get(_table(claim), score)
    is_gain = bool(key) and METRICS[key].higher_is_better
    return score * (1.0 if is_gain else -1.0)


@cache
def _numbers() -> dict[tuple[str, str, str, str, At], dict[str, float]]:
    """Return scores by table, keyed by paper, data set, system, metric and rate.

    What has no rate is at 0.0 if the table says that its data are complete, else an
    AUILC.
    """
    found: dict = {}
    for row in published().itertuples():
        at = row.rate
        if np.isnan(at):
            at = 0.0 if row.setting.startswith("complete") else "AUILC"
        key = row.key if isinstance(row.key, str) else ""
        system = system_of(row.paper, row.model)
        name = (row.paper, row.dataset, system, key, at)
        found.setdefault(name, {}).setdefault(row.table, row.score)
    return found


@cache
def _weights() -> dict[tuple[str, str, str, str], str]:
    """Return "correct", "swapped" or "open" by paper, table, data set and system.

    Open is where both weightings give the printed numbers. The audit is the project's
    own, wherever the runs are published to.
    """
    rows = load_table("audit/f1-systems", repo_root() / "results").itertuples()
    return {
        (
            row.paper,
            row.table,
            row.dataset,
            system_of(row.paper, row.model),
        ): row.reading
        for row in rows
    }


@cache
def _reading(paper: str, table: str, dataset: str, system: str) -> str:
    """Return the weights of a printed row, "open" where nothing tells them.

    What fits either is read as the other rows of the same system in the same paper, if
    they agree.
    """
    own = _weights().get((paper, table, dataset, system), "")
    if own != "open":
        return own
    others = {
        weights
        for (where, _, _, whose), weights in _weights().items()
        if (where, whose) == (paper, system) and weights != "open"
    }
    return others.pop() if len(others) == 1 else "open"


def _table(claim: Claim) -> str:
    """Name the table of a claim's page: ``papers/mit-table-7`` is Table 7."""
    return "Table " + claim.page.rpartition("-")[2]
