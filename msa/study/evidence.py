"""Published runs as claims and pairs ask for them, scored once.

Array convention as in :mod:`msa.study.stats`: ``R`` runs (seeds), ``B`` resamples,
``S`` missing rates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from msa.data.contract import Split
from msa.data.load import load
from msa.data.registry import source
from msa.study.claims import Place, along, config_of, parse_system, rates_of, rules
from msa.study.epoch_times import EPOCH_TIMES, shared_rounds
from msa.study.grids import FIVE_SEEDS
from msa.study.results import load_curves, load_predictions, load_runs, load_table
from msa.study.stats import Floats, Scored, scored
from msa.train.metrics import METRICS


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
        self._tests: dict[str, Split] = {}

    def run_id(
        self, dataset: str, system: str, rate: float, seed: int, **fields: object
    ) -> str:
        """Return the id that this run has, published or not."""
        return config_of(dataset, self.view, system, rate, seed, **fields).run_id

    def seeds(
        self,
        dataset: str,
        systems: Iterable[str],
        rates: Sequence[float],
        **fields: object,
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
        self, dataset: str, system: str, rate: float, seed: int, **fields: object
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
        self, place: Place, system: str, seeds: Sequence[int], **fields: object
    ) -> tuple[Floats, Floats]:
        """Return a metric along its rates for each seed, the larger the better.

        ``fields`` are what the runs' configurations have besides the defaults.

        Returns
        -------
        values : array, shape (R,)
            On the real test split.
        scores : array, shape (B, R)
            On every draw of clips.
        """
        ids = [
            [self.run_id(place.dataset, system, rate, seed, **fields) for rate in rates]
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
                self._test(dataset).labels.numpy(),
                source(dataset, self.view).scale,
                self._test(dataset).videos,
                resamples=rules().resamples,
            )
        return self._scored[run_id]

    def _test(self, dataset: str) -> Split:
        if dataset not in self._tests:
            self._tests[dataset] = load(dataset, self.view).splits["test"]
        return self._tests[dataset]
