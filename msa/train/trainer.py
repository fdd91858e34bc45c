"""The trainer: knows batches and losses, and nothing of the model it trains."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm

from msa.models.base import Batch, Hyper, Model, Stage
from msa.train.batches import DeviceSplit
from msa.train.checkpoint import Checkpoint

EVALUATION_BATCH = 128
"""Rows predicted at a time. No prediction depends on it, so no score and no checkpoint.
Auxiliary terms that a model takes over a batch as a whole do, and so does the released
reconstruction, which attends over the batch."""


class NonFiniteLoss(RuntimeError):
    """A loss term became NaN or infinite."""


@dataclass
class Fit:
    """What training leaves behind.

    Attributes
    ----------
    curves : list of dict
        Rows ``epoch, split, term, value``: every loss term, unweighted, and the
        weighted ``"total"``, for train (mean over the epoch's batches) and valid. Terms
        that a model takes in its training objective only are not in the ``"total"`` of
        valid. A stage before the last puts its name in front: ``"<stage>_<term>"``.
    best_epoch : int
        Epoch with the lowest validation task loss, whose weights the model now has.
    epochs : int
        Epochs trained.
    seconds : float
        Wall time, that of earlier processes included.
    earlier : float
        Seconds that earlier processes took to the checkpoint that this one went on
        from.
    """

    curves: list[dict] = field(default_factory=list)
    best_epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0
    earlier: float = 0.0


@torch.no_grad()
def evaluate(
    model: Model, split: DeviceSplit, epoch: int = 0, rows: int | None = None
) -> tuple[Tensor, dict[str, float]]:
    """Predict a split and average its loss terms.

    Parameters
    ----------
    model : Model
    split : DeviceSplit
    epoch : int
        Whose loss weights count.
    rows : int or None
        Predict the first rows only.

    Returns
    -------
    predictions : Tensor of float32, shape (N,)
        On the host, in row order; NaN for rows that are not predicted.
    terms : dict of str to float
        Every loss term and the weighted ``"total"``, averaged over samples.

    Raises
    ------
    OutputsError
        If the model's outputs do not fit (:meth:`msa.models.base.Model.checked`).
    """
    model.eval()
    predictions = torch.full((len(split),), math.nan, device=split.device)
    count = len(split) if rows is None else rows
    weights = model.weights(epoch)
    sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=split.device))
    for chosen, batch in split.by_length(EVALUATION_BATCH, model.trims_padding, rows):
        outputs = model.checked(model(batch), batch)
        predictions[batch.index] = outputs.prediction
        task = model.task_loss(outputs.prediction, batch.labels)
        for name, value in {"task": task, **outputs.losses}.items():
            sums[name] += value * len(chosen)
            sums["total"] += weights[name] * value * len(chosen)
    terms = {name: float(value) / count for name, value in sums.items()}
    return predictions.float().cpu(), terms


class _Pass:
    """A stage with its optimiser: Adam, clipping, the rate cut on a plateau."""

    def __init__(self, stage: Stage, hyper: Hyper) -> None:
        self.stage, self.hyper = stage, hyper
        self.parameters = [p for group in stage.groups for p in group["params"]]
        self.optimiser = torch.optim.Adam(stage.groups, fused=True)
        self.schedule = None
        if hyper.plateau_patience is not None:
            self.schedule = ReduceLROnPlateau(
                self.optimiser,
                factor=hyper.plateau_factor,
                patience=hyper.plateau_patience,
            )

    def state(self) -> dict[str, Any]:
        """Return what the optimiser and the plateau remember."""
        plateau = self.schedule and self.schedule.state_dict()
        return {"optimiser": self.optimiser.state_dict(), "plateau": plateau}

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.optimiser.load_state_dict(state["optimiser"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["plateau"])

    def run(self, batches: Iterator[Batch], rows: int, epoch: int) -> dict[str, float]:
        """Train on the stage's share of ``rows`` rows; return the mean of each term."""
        hyper = self.hyper
        window = hyper.running_sum or 1
        sums: dict[str, Tensor] = {}
        steps = seen = 0
        for batch in batches:
            total, terms = self.stage.objective(batch, epoch)
            if steps % window == 0:
                self.optimiser.zero_grad()
            total.backward()
            if hyper.clip_value is not None:
                torch.nn.utils.clip_grad_value_(self.parameters, hyper.clip_value)
            if hyper.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(self.parameters, hyper.clip_norm)
            self.optimiser.step()
            if window > 1 and (steps + 1) % window == 0:
                self.optimiser.step()  # the released loop steps a second time here
            for name, value in {**terms, "total": total}.items():
                value = value.detach()
                sums[name] = sums[name] + value if name in sums else value
            steps += 1
            seen += len(batch.labels)
            if seen >= self.stage.share * rows:
                break
        return {name: float(value) / steps for name, value in sums.items()}


class _Training:
    """What a training holds between two epochs, and how it is kept and taken up."""

    def __init__(self, model: Model, hyper: Hyper, seed: int, labels: Tensor) -> None:
        self.model, self.hyper, self.device = model, hyper, labels.device
        self.order = torch.Generator().manual_seed(seed)
        model.begin_training(labels)
        self.passes = self._passes()
        self.result = Fit()
        self.best = math.inf
        self.best_state: dict[str, Tensor] = {}

    def _passes(self) -> list[_Pass]:
        return [_Pass(stage, self.hyper) for stage in self.model.stages(self.hyper)]

    def keep_if_best(self, loss: float) -> None:
        """Copy the weights of the last epoch if its validation task loss is lowest."""
        if loss < self.best:
            self.best, self.result.best_epoch = loss, self.result.epochs
            state = self.model.state_dict()
            self.best_state = {k: v.detach().clone() for k, v in state.items()}

    def state(self) -> dict[str, Any]:
        """Return all that the next epochs depend on, what models remember included."""
        return {
            "model": self.model,
            "passes": [part.state() for part in self.passes],
            "order": self.order.get_state(),
            "random": _random_state(self.device),
            "result": self.result,
            "best": self.best,
            "best_state": self.best_state,
        }

    def take_up(self, state: dict[str, Any] | None) -> None:
        """Go on from a state, if there is one.

        The model stays the same object to whoever holds it.
        """
        if state is None:
            return
        vars(self.model).update(vars(state["model"]))
        self.passes = self._passes()
        for part, kept in zip(self.passes, state["passes"], strict=True):
            part.take_up(kept)
        self.order.set_state(state["order"])
        self.result = state["result"]
        self.result.earlier = self.result.seconds
        self.best, self.best_state = state["best"], state["best_state"]
        _set_random_state(state["random"], self.device)


def fit(
    model: Model,
    train: DeviceSplit,
    valid: DeviceSplit,
    hyper: Hyper,
    *,
    seed: int,
    max_epochs: int,
    progress: bool = False,
    watch: Callable[[int], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Train a model until its validation task loss stops falling.

    An epoch runs the model's stages one after another, each over the shuffled training
    split with its own Adam: gradients clipped, the learning rate cut on a plateau of
    the validation task loss. The weights of the epoch with the lowest one are put back
    at the end: one checkpoint, chosen on the validation split, serves all metrics.

    Parameters
    ----------
    model : Model
        On the splits' device.
    train, valid : DeviceSplit
    hyper : Hyper
    seed : int
        Of the data order.
    max_epochs : int
    progress : bool
        Whether to show a progress bar.
    watch : callable, optional
        Called with the number of every finished epoch, while the model has that epoch's
        weights. What it finds out stays with it: it has no say in the training, and
        random numbers that it draws are not missed here.
    checkpoint : Checkpoint, optional
        What the training goes on from, if it has a state, and where it keeps its own
        from time to time. What ``watch`` found out is not part of it.

    Raises
    ------
    NonFiniteLoss
        Naming the epoch and the terms.
    """
    started = time.perf_counter()
    now = _Training(model, hyper, seed, train.labels)
    if checkpoint is not None:
        now.take_up(checkpoint.read())
    result = now.result
    held_rows = valid.complete(hyper.batch_size) if hyper.drop_last else None
    ahead = range(result.epochs + 1, max_epochs + 1)
    bar = tqdm(
        ahead,
        initial=result.epochs,
        total=max_epochs,
        disable=not progress,
        unit="epoch",
    )
    for epoch in bar:
        model.train()
        means = {}
        for part in now.passes:
            batches = train.shuffled(
                hyper.batch_size, now.order, model.trims_padding, hyper.drop_last
            )
            terms = part.run(batches, len(train), epoch)
            prefix = "" if part is now.passes[-1] else f"{part.stage.name}_"
            means |= {prefix + name: value for name, value in terms.items()}
        _, held_out = evaluate(model, valid, epoch, held_rows)
        _check_finite(epoch, train=means, valid=held_out)
        for split, values in (("train", means), ("valid", held_out)):
            result.curves.extend(
                {"epoch": epoch, "split": split, "term": name, "value": value}
                for name, value in values.items()
            )
        result.epochs = epoch
        if watch is not None:
            with fork_rng(train.device):
                watch(epoch)
        now.keep_if_best(held_out["task"])
        bar.set_postfix(valid_task=f"{held_out['task']:.3f}", best=f"{now.best:.3f}")
        if epoch - result.best_epoch >= hyper.early_stop:
            break
        for part in now.passes:
            if part.schedule is not None:
                part.schedule.step(held_out["task"])
        if checkpoint is not None and checkpoint.due():
            result.seconds = result.earlier + time.perf_counter() - started
            checkpoint.write(now.state())
    bar.close()
    model.load_state_dict(now.best_state)
    result.seconds = result.earlier + time.perf_counter() - started
    return result


def fork_rng(device: str | torch.device) -> AbstractContextManager[None]:
    """Put random numbers back as they were at the end of a ``with`` block.

    Those of the CPU, and of a GPU where that is the device: PyTorch left to itself asks
    every GPU of the machine, which also for a run on the CPU takes time and memory on
    each.
    """
    used = [device] if torch.device(device).type == "cuda" else []
    return torch.random.fork_rng(devices=used)


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return the random numbers' state: the CPU's, and the GPU's where that is used."""
    used = device.type == "cuda"
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if used else None


def _set_random_state(
    state: tuple[Tensor, Tensor | None], device: torch.device
) -> None:
    cpu, gpu = state
    torch.set_rng_state(cpu)
    if gpu is not None:
        torch.cuda.set_rng_state(gpu, device)


def _check_finite(epoch: int, **splits: dict[str, float]) -> None:
    bad = [
        f"{split} {name} = {value}"
        for split, terms in splits.items()
        for name, value in terms.items()
        if not math.isfinite(value)
    ]
    if bad:
        raise NonFiniteLoss(
            f"epoch {epoch}: {'; '.join(bad)}. The run was stopped; a lower learning "
            "rate may help, or a look at what `python -m msa data check` warns of."
        )
