"""How long runs take: what a budget, a remaining time and a plan are judged by."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it brings PyTorch along, which only workers need
    from msa.study.store import RunStore
    from msa.train.config import RunConfig

# Finished runs that are read to learn how long a kind of run takes.
_SAMPLES = 3

# Asked beyond the protocol, and no work.
_FREE = "data_order_seed"


class Durations:
    """How long each kind of run takes, in seconds.

    A kind is everything that decides the work of a run; the missing rate and the seeds
    are left aside. All times are of one device, a CPU core or a GPU.

    Parameters
    ----------
    elsewhere : iterable of (RunConfig, float), optional
        Runs that another machine did on such a device, and their seconds: they count
        for a kind until this machine has finished one of it.
    """

    def __init__(self, elsewhere: Iterable[tuple[RunConfig, float]] = ()) -> None:
        self._seen: dict[tuple, list[float]] = defaultdict(list)
        self._elsewhere: dict[tuple, list[float]] = defaultdict(list)
        for config, seconds in elsewhere:
            self._elsewhere[self._kind(config)].append(seconds)

    @staticmethod
    def _kind(config: RunConfig) -> tuple:
        return (
            *(config.dataset, config.view, config.model, config.variant),
            *(config.encoder, config.encoder_mode, config.max_epochs),
            *(name for name in config.beyond if name != _FREE),
        )

    def add(self, config: RunConfig, seconds: float) -> None:
        """Add a run that was finished here."""
        self._seen[self._kind(config)].append(seconds)

    def learn_from(self, store: RunStore, config: RunConfig, device: str) -> None:
        """Add a stored run, unless enough of its kind are known.

        A run made on another device is left out: its time says nothing here.
        """
        if len(self._seen[self._kind(config)]) < _SAMPLES:
            record = store.read(config.run_id)
            if record.get("environment", {}).get("device") == device:
                self.add(config, sum(record.get("seconds", {}).values()))

    def of(self, config: RunConfig) -> float | None:
        """Return the median of the kind, None if none was seen."""
        kind = self._kind(config)
        seen = self._seen.get(kind) or self._elsewhere.get(kind)
        return statistics.median(seen) if seen else None

    def split(self, configs: Sequence[RunConfig]) -> tuple[float, int]:
        """Return the seconds of the runs whose kind was seen, and how many are not."""
        known = [self.of(config) for config in configs]
        return sum(v for v in known if v is not None), known.count(None)

    def total(self, configs: Sequence[RunConfig]) -> float:
        """Return the sum over runs; a kind never seen counts as the mean of all runs.

        NaN if nothing was seen but is needed.
        """
        sure, unknown = self.split(configs)
        if not unknown:
            return sure
        groups = (*self._seen.values(), *self._elsewhere.values())
        seen = [value for values in groups for value in values]
        return sure + unknown * (statistics.fmean(seen) if seen else math.nan)
