"""Named studies: grids of runs, ordered so that every prefix is worth having.

A study that is interrupted has stored its first runs. The order makes these a complete
table at fewer rates or seeds instead of a few finished columns of a large one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from msa.train.config import RunConfig

SEEDS = (1111, 111, 11111)
"""Run seeds of the protocol, the first one first everywhere."""

RATES_BY_VALUE = (0.0, 0.5, 1.0, 0.3, 0.7, 0.1, 0.9, 0.2, 0.8, 0.4, 0.6)
"""Missing rates: both ends and the middle first, then what halves the gaps."""

CORNERS = (0.0, 0.5, 1.0)
"""Rates that get all seeds first."""

SYSTEMS = ("constant", "text-linear", "MFMB-Net", "MIT-FRNet", "TFR-Net")
"""Both papers, their common ancestor, and the references that every table carries."""


class UnknownStudy(ValueError):
    """A study that does not exist."""


@dataclass(frozen=True)
class Study:
    """A named grid of runs.

    Attributes
    ----------
    name : str
        As the command line takes it.
    title : str
        One line.
    description : str
        What it answers, and what it costs.
    configs : tuple of RunConfig
        The runs, the most valuable first, each once.
    """

    name: str
    title: str
    description: str
    configs: tuple[RunConfig, ...]


def cells(
    models: Sequence[str],
    rates: Sequence[float],
    seeds: Sequence[int],
    **fields: object,
) -> list[RunConfig]:
    """Return every combination: for each seed all rates, for each rate all models.

    Runs on the same damaged data follow each other, so a worker damages and encodes
    it once.

    Parameters
    ----------
    models, rates, seeds : sequence
        The grid.
    **fields
        Other fields of every configuration, such as ``dataset``.
    """
    return [
        RunConfig.resolve(model=model, missing_rate=rate, seed=seed, **fields)
        for seed in seeds
        for rate in rates
        for model in models
    ]


def _demo() -> Study:
    return Study(
        name="demo",
        title="Both papers on the embedded demo set, in a minute or two",
        description=(
            "The two paper models, TFR-Net and the references on synthetic data at "
            "three missing rates, one seed, few epochs: shows that everything works "
            "and says nothing about real speakers."
        ),
        configs=tuple(
            cells(SYSTEMS, CORNERS, SEEDS[:1], dataset="demo", max_epochs=DEMO_EPOCHS)
        ),
    )


def _mosi_sweep() -> Study:
    data = {"dataset": "mosi", "view": "clip-context", "encoder": "minilm"}
    return Study(
        name="mosi-sweep",
        title="CMU-MOSI under missing data: both papers at every missing rate",
        description=(
            "The two paper models, TFR-Net and the references on CMU-MOSI "
            "(clip-context features, frozen MiniLM text) at missing rates 0.0 to 1.0: "
            "one seed at every rate first, then three seeds at 0.0, 0.5 and 1.0."
        ),
        configs=(
            *cells(SYSTEMS, RATES_BY_VALUE, SEEDS[:1], **data),
            *cells(SYSTEMS, CORNERS, SEEDS[1:], **data),
        ),
    )


DEMO_EPOCHS = 5
"""Epochs of the demo study: enough to see the loss fall."""

_STUDIES: dict[str, Callable[[], Study]] = {
    "demo": _demo,
    "mosi-sweep": _mosi_sweep,
}


def study_names() -> list[str]:
    """Return the names of all studies."""
    return list(_STUDIES)


@cache
def study(name: str) -> Study:
    """Look a study up.

    Raises
    ------
    UnknownStudy
        With the list of known names.
    """
    if name not in _STUDIES:
        raise UnknownStudy(f"no study {name!r}; known: {', '.join(_STUDIES)}")
    return _STUDIES[name]()
