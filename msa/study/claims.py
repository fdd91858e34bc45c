"""What the papers claim, and the runs that each claim needs.

The claims and the rules stand in ``claims.toml`` beside this file, written before the
runs; its head explains every term. :mod:`msa.study.verdicts` decides.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product
from typing import Literal

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from msa.data.contract import MODALITIES
from msa.data.registry import FRAME_LEVEL, source
from msa.models.registry import MODELS, UnknownModel
from msa.train.config import RunConfig
from msa.train.metrics import METRICS, RATES, auilc, metric_keys, mwa

CURVES = ("AUILC", "MWA/10")
"""Numbers that are made of a metric at all missing rates."""

At = float | str


class ClaimError(ValueError):
    """A claim in ``claims.toml`` that no rule can decide."""


class Rules(BaseModel):
    """Numbers that hold for every claim; see the head of ``claims.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: int
    resamples: int
    level: float
    margin: float
    tolerance_percent: float
    tolerance_MAE: float
    tolerance_Corr: float

    def tolerance(self, metric: str, scale: str) -> float:
        """Return how far from a printed value a mean may lie."""
        if metric == "Corr":
            return self.tolerance_Corr
        if metric == "MAE":
            return self.tolerance_MAE / (3 if scale == "sims" else 1)
        return self.tolerance_percent


class Claim(BaseModel):
    """One claim of a paper; the head of ``claims.toml`` explains the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    paper: Literal["MFMB-Net", "MIT-FRNet"]
    where: str
    says: str
    kind: Literal[
        *("better", "order", "gain", "value", "undefined", "converges", "flat"),
        *("faster", "counts", "restores", "explanation"),
    ]
    page: str
    study: str | None = None
    datasets: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    at: tuple[At, ...] = ()
    cells: tuple[tuple[str, str, At], ...] = ()
    system: str | None = None
    rivals: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    against: Literal["best", "each"] = "best"
    quantity: Literal["all", "most"] = "all"
    stated: float | None = None
    table: str | None = None
    features: Literal["any", "frame-level"] = "any"
    caveat: str = ""
    caveat_here: str = ""

    @model_validator(mode="after")
    def _complete(self) -> Claim:
        wanted = {
            "gain": ("system", "rivals", "stated"),
            "value": ("system", "table"),
            "better": ("system", "rivals"),
            "order": ("pairs",),
            "faster": ("pairs",),
            "counts": ("table", "datasets"),
            "explanation": ("caveat",),
        }.get(self.kind, ("system", "datasets", "at"))
        lacking = [name for name in wanted if not getattr(self, name)]
        if lacking:
            raise ValueError(f"a claim of kind {self.kind} needs {', '.join(lacking)}")
        for system in self.systems:
            parse_system(system)
        return self

    def notes(self, view: str) -> list[str]:
        """Return what a reader of the verdict on a feature view has to know."""
        own = [] if view in FRAME_LEVEL else [self.caveat_here]
        return [note for note in (self.caveat, *own) if note]

    @property
    def systems(self) -> tuple[str, ...]:
        """Every system that the claim speaks of, each once."""
        named = (self.system, *self.rivals, *(s for pair in self.pairs for s in pair))
        return tuple(dict.fromkeys(s for s in named if s is not None))


@dataclass(frozen=True)
class Place:
    """Where a cell is: data set, metric (empty where there is none) and rate."""

    dataset: str
    metric: str
    at: At

    @property
    def number(self) -> str:
        """The rate as text, or the name of what is made of several."""
        return f"{self.at:.1f}" if isinstance(self.at, float) else self.at

    def __str__(self) -> str:
        rate = "rate " * isinstance(self.at, float) + self.number
        known = METRICS.get(self.metric)
        metric = known.name if known else self.metric
        parts = (source(self.dataset).title, metric, rate)
        return ", ".join(part for part in parts if part)


# --- reading --------------------------------------------------------------------------


@cache
def read_claims() -> tuple[Claim, ...]:
    """Return all claims, in the order of the file.

    Raises
    ------
    ClaimError
        Naming the claim and what is wrong with it.
    """
    found = []
    for number, entry in enumerate(_file()["claim"], 1):
        try:
            found.append(Claim(**entry))
        except (ValidationError, UnknownModel) as error:
            name = entry.get("id", f"number {number}")
            raise ClaimError(f"claim {name} in claims.toml: {error}") from error
    ids = [claim.id for claim in found]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ClaimError(f"claims.toml has these claims twice: {', '.join(twice)}")
    return tuple(found)


@cache
def rules() -> Rules:
    """Return the numbers that hold for every claim."""
    return Rules(**_file()["rules"])


def claim(name: str) -> Claim:
    """Return a claim by its id.

    Raises
    ------
    ClaimError
        If there is no such claim.
    """
    for found in read_claims():
        if found.id == name:
            return found
    raise ClaimError(f"there is no claim {name!r}; msa/study/claims.toml lists them")


@cache
def parse_system(name: str) -> tuple[str, str]:
    """Return model and variant of a system, ``"MFMB-Net w/o Recon"`` for example.

    Raises
    ------
    UnknownModel
        If there is no such model or variant.
    """
    for model, entry in MODELS.items():
        if name == model:
            return model, entry.default_variant
        variant = name.removeprefix(f"{model} ")
        if variant != name and variant in entry.variants:
            return model, variant
    raise UnknownModel(f"no system {name!r}: a model, or a model and a variant of it")


# --- cells and runs -------------------------------------------------------------------


def places(claim: Claim) -> list[Place]:
    """Return every data set, metric and rate of a claim, in its order."""
    listed = [Place(*cell) for cell in claim.cells]
    for dataset in claim.datasets if claim.at else ():
        scale = source(dataset).scale
        metrics = claim.metrics or ("",)
        if metrics == ("all",):
            metrics = tuple(m for m in metric_keys(scale) if "swapped" not in m)
        rates = [r for at in claim.at for r in (RATES if at == "every rate" else (at,))]
        listed += [Place(dataset, *cell) for cell in product(metrics, rates)]
    return listed


def rates_of(at: At) -> tuple[float, ...]:
    """Return the missing rates that a number is made of.

    Raises
    ------
    ClaimError
        If it is neither a rate nor one of the known numbers.
    """
    if isinstance(at, float):
        return (at,)
    if at in CURVES:
        return RATES
    if at.startswith("drop "):
        first, last = map(float, at.split()[1:])
        return (first, last)
    raise ClaimError(f"no rate {at!r}; known: a number, {', '.join(CURVES)}, drop A B")


def along(at: At, values: NDArray) -> NDArray:
    """Make the number ``at`` of a metric at ``rates_of(at)``.

    Parameters
    ----------
    at : float or str
        A missing rate, ``"AUILC"``, ``"MWA/10"`` or ``"drop A B"``.
    values : array of float, shape (..., S)
        The metric, the larger the better, at those rates in their order.

    Returns
    -------
    array of float, shape (...)
        The larger the better: a drop is negative.
    """
    if isinstance(at, float):
        return values[..., 0]
    if at == "AUILC":
        return auilc(values, RATES)
    if at == "MWA/10":
        return mwa(values, RATES, 10)
    return values[..., 1] - values[..., 0]


@cache
def config_of(
    dataset: str, view: str, system: str, rate: float, seed: int, **fields: object
) -> RunConfig:
    """Return the run of a system with its defaults and the data set's own encoder."""
    model, variant = parse_system(system)
    return RunConfig.resolve(
        dataset=dataset,
        view=view,
        model=model,
        variant=variant,
        missing_rate=rate,
        seed=seed,
        **fields,
    )


# --- in words -------------------------------------------------------------------------


def run_fields(claim: Claim) -> dict[str, bool]:
    """Return what the runs of a claim have besides the defaults."""
    return {"reconstruction_error": True} if claim.kind == "restores" else {}


def in_words(claim: Claim) -> str:
    """Say what is compared, and what supports or refutes a claim, from its rule."""
    if claim.kind == "explanation":
        return f"No run decides this: {claim.caveat}."
    return f"{_compared(claim)}{_weighting(claim)}. {_decided(claim)}"


def count_cells(claim: Claim) -> int:
    """Return how many cells a claim has, those without a printed value included."""
    rivals = len(claim.rivals) if claim.against == "each" else 1
    each = len(MODALITIES) if claim.kind == "restores" else len(claim.pairs) or rivals
    return len(places(claim)) * each


def _compared(claim: Claim) -> str:
    rivals = ", ".join(claim.rivals)
    if len(claim.rivals) > 1:
        rivals = f"{'each' if claim.against == 'each' else 'the best'} of {rivals}"
    losses = f"the first and the last training losses of {claim.system}"
    words = {
        "better": f"{claim.system} with {rivals}",
        "gain": f"{claim.system} with {rivals}",
        "value": f"{claim.system} with the printed cells of {claim.table}",
        "undefined": f"the seeds of {claim.system} with and without a defined metric",
        "converges": losses,
        "flat": losses,
        "counts": f"clips by class and split with {claim.table}",
        "restores": f"reconstructions of {claim.system} with three imputations",
    }
    pairs = ", ".join(f"{first} with {second}" for first, second in claim.pairs)
    if claim.kind == "faster":
        pairs += f" at missing rates {', '.join(map(str, claim.at))}"
    return "Compares " + words.get(claim.kind, pairs)


def _weighting(claim: Claim) -> str:
    """Say which weights F1 is compared with, where it is."""
    f1 = [place.metric for place in places(claim) if "F1" in place.metric]
    if not f1:
        return ""
    if claim.kind == "value" or all("swapped" in metric for metric in f1):
        return " (F1 in the papers' weighting)"
    return " (F1 with correct weights)"


_WON_BY_LOSS = {
    "converges": "has come down from the first to the last epoch and moves by less "
    "than a tenth of that way over the last fifth of the epochs (their mean against "
    "that of the fifth before)",
    "flat": "ends within a tenth of its first value",
}


def _decided(claim: Claim) -> str:
    fixed, count = rules(), count_cells(claim)
    if claim.kind == "counts":
        return "Supported if every count is the same, refuted otherwise."
    if claim.kind == "undefined":
        return "Supported if undefined in most seeds of every cell, refuted if in none."
    if claim.kind == "gain":
        return (
            f"Supported if the interval lies above 0 and holds {claim.stated:g}, "
            "refuted if the gain is not positive and the interval does not hold it."
        )
    if count == 1 and claim.kind in ("better", "order"):
        return (
            "Supported if the interval of the gain lies above 0, refuted if the gain "
            f"is not positive or its interval stays below {fixed.margin:g}."
        )
    share = "all" if claim.quantity == "all" else "more than half"
    cells = f"{count} cells" if count > 1 else "the only cell"
    if claim.kind == "value" and count > 1:
        cells = "the printed cells"  # a dash is none
    lost = ", or if one is surely lost" if claim.quantity == "all" else ""
    what = ""
    if claim.kind in ("converges", "flat"):
        cells, lost = "the runs", ""
        what = f"A run is won if its total training loss {_WON_BY_LOSS[claim.kind]}. "
    return (
        f"{what}Supported if {share} of {cells} are won and the interval of that share "
        f"lies above one half, refuted if at most half are won{lost}."
    )


def _file() -> dict:
    text = (resources.files("msa.study") / "claims.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
