"""Check 5b: what the papers' text says of their tables, against the tables.

The statements stand in ``claims.toml``, in our words. Each has a kind, and each kind
is a few lines of arithmetic here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd

from msa.audit.derived import derived_scores
from msa.audit.findings import findings
from msa.audit.labels import Labels
from msa.audit.tidy import higher_is_better
from msa.train.metrics import METRICS

Claim = Mapping[str, Any]
Outcome = tuple[str, str, str]
"""Verdict, computed value and arithmetic in words."""

_CELL = ["dataset", "metric", "variant", "rate"]
_MOST_SHOWN = 6


@lru_cache(maxsize=1)
def read_claims() -> tuple[Claim, ...]:
    """Return the hand-made list of claims."""
    text = (resources.files("msa.audit") / "claims.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["claim"])


def claims(
    cells: pd.DataFrame, listed: tuple[Claim, ...] | None = None
) -> pd.DataFrame:
    """Check every claim about a table that is at hand.

    Parameters
    ----------
    cells : DataFrame
        A table from :func:`msa.audit.tidy.prepare`.
    listed : tuple of mapping, optional
        Claims in the form of ``claims.toml``; that file when left out.

    Returns
    -------
    DataFrame
        Columns ``id, paper, table, section, says, stated, computed, verdict,
        arithmetic``. A claim that leaves open how much it claims gets a note.

    Raises
    ------
    ValueError
        If a claim has an unknown kind or selects no cell.
    """
    rows = []
    for claim in read_claims() if listed is None else listed:
        table = cells[
            (cells["paper"] == claim["paper"]) & (cells["table"] == claim["table"])
        ]
        if table.empty:
            continue
        if claim["kind"] not in _KINDS:
            raise ValueError(f"claim {claim['id']!r}: unknown kind {claim['kind']!r}")
        chosen = _where(table, claim.get("where", {}))
        if chosen.empty:
            raise ValueError(f"claim {claim['id']!r} selects no cell of its table")
        verdict, computed, arithmetic = _KINDS[claim["kind"]](claim, chosen, cells)
        if "remark" in claim:
            verdict = "note" if verdict == "inconsistent" else verdict
            arithmetic += f"; {claim['remark']}"
        rows.append(
            {name: claim[name] for name in ("id", "paper", "table", "section", "says")}
            | {
                "stated": str(claim.get("stated", claim.get("quantity", "listed"))),
                "computed": computed,
                "verdict": verdict,
                "arithmetic": arithmetic,
            }
        )
    columns = ["id", "paper", "table", "section", "says", "stated", "computed"]
    return pd.DataFrame(rows, columns=[*columns, "verdict", "arithmetic"])


def claim_findings(cells: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Return the checked claims as findings; the printed value is what is stated."""
    checked = claims(cells)
    return findings(
        "derived",
        [
            {
                "paper": claim.paper,
                "table": claim.table,
                "printed": claim.stated,
                "verdict": claim.verdict,
                "explanation": f"text, {claim.section}: {claim.says}. Computed: "
                f"{claim.computed} ({claim.arithmetic})",
            }
            for claim in checked.itertuples()
        ],
    )


def _where(table: pd.DataFrame, conditions: Mapping[str, Any]) -> pd.DataFrame:
    for column, wanted in conditions.items():
        wanted = wanted if isinstance(wanted, list) else [wanted]
        table = table[table[column].isin(wanted)]
    return table


def _better_is_larger(cells: pd.DataFrame) -> pd.Series:
    """Values with the sign turned where lower is better."""
    sign = cells["metric"].map(lambda m: 1.0 if higher_is_better(m) else -1.0)
    return cells["value"] * sign


def _wide(cells: pd.DataFrame) -> pd.DataFrame:
    """One row per cell position, one column per model; larger is better."""
    table = cells.assign(value=_better_is_larger(cells))
    return table.set_index([*_CELL, "model"])["value"].unstack("model")


def _position(key: tuple) -> str:
    dataset, metric, variant, rate = key
    parts = [dataset, f"{metric} {variant}".strip()]
    return " ".join(parts if np.isnan(rate) else [*parts, f"at {rate:.1f}"])


def _counted(claim: Claim, wins: pd.Series) -> Outcome:
    """Judge "in all", "in most" or a vague claim by the number of wins."""
    won, total = int(wins.sum()), len(wins)
    losses = [_position(key) for key in wins.index[~wins]]
    shown = ", ".join(losses[:_MOST_SHOWN])
    if len(losses) > _MOST_SHOWN:
        shown += f" and {len(losses) - _MOST_SHOWN} more"
    needed = {"all": won == total, "most": 2 * won > total}.get(claim["quantity"])
    verdict = "note" if needed is None else "ok" if needed else "inconsistent"
    words = f"true in {won} of {total} cells"
    return verdict, f"{won}/{total}", words + (f"; not in {shown}" if losses else "")


def _beats(own: pd.Series, rivals: pd.DataFrame) -> pd.Series:
    """Tell where a row is strictly better than others; an undefined value loses."""
    return own.notna() & ((own > rivals.max(axis=1)) | rivals.isna().all(axis=1))


def _best(claim: Claim, chosen: pd.DataFrame, _: pd.DataFrame) -> Outcome:
    wide = _wide(chosen)
    model = claim["model"]
    return _counted(claim, _beats(wide[model], wide.drop(columns=model)))


def _better(claim: Claim, chosen: pd.DataFrame, _: pd.DataFrame) -> Outcome:
    wide = _wide(chosen)
    return _counted(claim, _beats(wide[claim["model"]], wide[claim["others"]]))


def _worse(claim: Claim, chosen: pd.DataFrame, _: pd.DataFrame) -> Outcome:
    wide = _wide(chosen)
    return _counted(claim, wide[claim["model"]] < wide[claim["others"]].min(axis=1))


def _beside_full(claim: Claim, chosen: pd.DataFrame, cells: pd.DataFrame) -> pd.Series:
    """Ablation row minus full model, larger is better; undefined pairs left out."""
    full = cells[(cells["paper"] == claim["paper"]) & (cells["model"] == "Ours")]
    full = full[full["table"] == claim["reference"]]
    without = chosen[chosen["model"] == claim["model"]]
    both = pd.concat([full, without])
    difference = _wide(both)[claim["model"]] - _wide(both)["Ours"]
    return difference.dropna()


def _ablation(claim: Claim, chosen: pd.DataFrame, cells: pd.DataFrame) -> Outcome:
    return _counted(claim, _beside_full(claim, chosen, cells) < 0)


def _listed(claim: Claim, chosen: pd.DataFrame, cells: pd.DataFrame) -> Outcome:
    better = _beside_full(claim, chosen, cells) > 0
    said = pd.Series(False, index=better.index)
    for entry in claim["cells"]:
        for key in better.index:
            name = f"{key[1]} {key[2]}".strip()
            named = (
                name in entry["metrics"]
                if "metrics" in entry
                else name not in entry["all_but"]
            )
            said[key] |= named and np.isclose(key[3], entry["rate"])
    wrong = [_position(key)[5:] for key in said.index[said & ~better]]
    unsaid = [_position(key)[5:] for key in said.index[better & ~said]]
    words = f"{int(said.sum())} cells listed, {int(better.sum())} are better"
    if wrong:
        words += f"; listed but not better: {', '.join(wrong)}"
    if unsaid:
        words += f"; better but not listed: {', '.join(unsaid)}"
    verdict = "inconsistent" if wrong else "note" if unsaid else "ok"
    return verdict, f"{int((said & better).sum())}/{int(said.sum())}", words


def _decimals(number: float) -> int:
    return len(str(number).partition(".")[2])


def _compared(claim: Claim, differences: pd.Series) -> Outcome:
    """Judge a stated difference; one of several variants may be meant."""
    places = _decimals(claim["stated"])
    differences = differences.round(places + 4)
    fits = np.isclose(differences.round(places), claim["stated"])
    words = ", ".join(
        f"{_position(key)}: {value:.{places}f}" for key, value in differences.items()
    )
    nearest = differences.iloc[(differences - claim["stated"]).abs().argmin()]
    verdict = "ok" if fits.any() else "inconsistent"
    return verdict, f"{nearest:.{places}f}", words


def _gain(claim: Claim, chosen: pd.DataFrame, _: pd.DataFrame) -> Outcome:
    wide = _wide(chosen)
    others = wide.drop(columns=claim["model"])
    verdict, computed, words = _compared(
        claim, wide[claim["model"]] - others.max(axis=1)
    )
    return verdict, computed, f"minus the best other row: {words}"


def _difference(claim: Claim, chosen: pd.DataFrame, _: pd.DataFrame) -> Outcome:
    wide = _wide(chosen)
    verdict, computed, words = _compared(
        claim, wide[claim["reference"]] - wide[claim["model"]]
    )
    return verdict, computed, f"{claim['reference']} minus {claim['model']}: {words}"


def _equal(claim: Claim, value: float, words: str) -> Outcome:
    shown = f"{value:.{_decimals(claim['stated'])}f}"
    fits = np.isclose(float(shown), claim["stated"])
    return "ok" if fits else "inconsistent", shown, f"{words} = {value:.6g}"


def _sum(claim: Claim, chosen: pd.DataFrame, _: pd.DataFrame) -> Outcome:
    counts = chosen["value"].astype(int)
    return _equal(claim, counts.sum(), " + ".join(map(str, counts)))


def _total(claim: Claim, *_: pd.DataFrame) -> Outcome:
    numbers = claim["numbers"]
    return _equal(claim, sum(numbers), " + ".join(map(str, numbers)))


def _quotient(claim: Claim, *_: pd.DataFrame) -> Outcome:
    top, bottom = claim["numbers"]
    return _equal(claim, top / bottom, f"{top} / {bottom}")


def _smallest(claim: Claim, chosen: pd.DataFrame, cells: pd.DataFrame) -> Outcome:
    table = cells[
        (cells["paper"] == claim["paper"]) & (cells["table"] == claim["table"])
    ]
    wide = table.set_index(["dataset", "split", "metric"])["value"].unstack("metric")
    metric = claim["where"]["metric"]
    least = wide[metric] < wide.drop(columns=metric).min(axis=1)
    words = f"smallest in {int(least.sum())} of {len(least)} splits"
    verdict = "ok" if least.all() else "inconsistent"
    return verdict, f"{int(least.sum())}/{len(least)}", words


def _undefined(claim: Claim, chosen: pd.DataFrame, _: pd.DataFrame) -> Outcome:
    dashes = chosen[chosen["value"].isna()]
    found = {
        (model, float(rate))
        for model, rate in zip(dashes["model"], dashes["rate"], strict=True)
    }
    said = {(model, rate) for model, rate in claim["cells"]}
    words = "printed as a dash: " + ", ".join(f"{m} at {r}" for m, r in sorted(found))
    verdict = "ok" if found == said else "inconsistent"
    return verdict, f"{len(found & said)}/{len(said)}", words


def _mwa(claim: Claim, chosen: pd.DataFrame, _: pd.DataFrame) -> Outcome:
    # The divisor does not change an order; 10 is the reading of the formula's range.
    scores = derived_scores(chosen).assign(rate=np.nan)
    wide = _wide(scores.assign(value=scores["mwa_10"]))
    others = wide.drop(columns=claim["model"]).max(axis=1)
    verdict, computed, words = _counted(claim, wide[claim["model"]] > others)
    values = "; ".join(
        f"{_position(key)}: {claim['model']} {abs(row[claim['model']]):.2f}, best "
        f"other {row.drop(claim['model']).idxmax()} {abs(others[key]):.2f}"
        for key, row in wide.iterrows()
    )
    return verdict, computed, f"{words}. MWA (divisor 10): {values}"


def _direction(claim: Claim, chosen: pd.DataFrame, _: pd.DataFrame) -> Outcome:
    metric = METRICS[chosen["metric"].iloc[0]]
    truth = "higher" if metric.higher_is_better else "lower"
    verdict = "ok" if truth == claim["stated"] else "inconsistent"
    return verdict, truth, f"{metric.name}: the {truth}, the better"


_KINDS: dict[str, Callable[..., Outcome]] = {
    "ablation": _ablation,
    "best": _best,
    "better": _better,
    "difference": _difference,
    "direction": _direction,
    "gain": _gain,
    "list": _listed,
    "mwa": _mwa,
    "quotient": _quotient,
    "smallest": _smallest,
    "sum": _sum,
    "total": _total,
    "undefined": _undefined,
    "worse": _worse,
}
