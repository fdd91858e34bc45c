"""A training that is broken off goes on from its last checkpoint.

On a CPU to the bit. On a GPU as exactly as two runs there are alike.
"""

from __future__ import annotations

import pickle
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from msa.data.files import write_atomically
from msa.train.environment import code_sha256

EVERY_S = 120.0
"""Seconds between two checkpoints at least: shorter runs never pay for one."""

# Not what a run computes but where its code stands in the history: the code counts.
_HISTORY = ("commit", "dirty")

_UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    AttributeError,
    ImportError,
    TypeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


class Checkpoint:
    """The state of one run's training, on disk.

    A state is taken up only where it would have come about as well: for the same run,
    with the same code, data, versions, processor and device. Any other file is passed
    over, and replaced at the next checkpoint: at the end of the first epoch that is
    over ``every_s`` seconds after the last one.

    Parameters
    ----------
    file : Path
        Where the state is kept. What lies there is unpickled, so the folder must be one
        that only its user writes to.
    run_id : str
        The run.
    environment : dict
        Of this process, as the run's record has it.
    every_s : float
        Seconds between two checkpoints at least.
    """

    def __init__(
        self,
        file: Path,
        run_id: str,
        environment: dict[str, Any],
        every_s: float = EVERY_S,
    ) -> None:
        self.file, self.every_s = file, every_s
        told = {k: v for k, v in environment.items() if k not in _HISTORY}
        self._origin = {"run_id": run_id, "code_sha256": code_sha256(), **told}
        self._last = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """Return the state that training goes on from, None where there is none.

        Raises
        ------
        torch.OutOfMemoryError
            If the GPU is full: the state is as good as it was.
        """
        try:
            kept = torch.load(self.file, weights_only=False)
            return kept["state"] if kept["origin"] == self._origin else None
        except torch.OutOfMemoryError:
            raise
        except _UNREADABLE:  # not there, or damaged: training begins anew
            return None

    def due(self) -> bool:
        """Return whether it is time for another one."""
        return time.monotonic() - self._last >= self.every_s

    def write(self, state: dict[str, Any]) -> None:
        """Keep a state in place of the last one.

        If the disk does not take it, the last one stays and training goes on, with a
        warning: what a run finds out takes far less room than its state.
        """
        kept = {"origin": self._origin, "state": state}
        try:  # into the file itself: memory for a copy would count as the run's
            write_atomically(self.file, lambda stream: torch.save(kept, stream))
        except (OSError, RuntimeError) as error:  # the second is PyTorch's, of a write
            warnings.warn(
                f"no checkpoint could be written to {self.file} ({error}); the run "
                "goes on, but what it trains from here on is lost if it is cut off: "
                "make room",
                RuntimeWarning,
                stacklevel=2,
            )
        self._last = time.monotonic()
