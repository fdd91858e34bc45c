"""One run from its configuration: load, damage, train, test, record."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from msa.data.contract import SPLITS
from msa.data.load import Dataset, load
from msa.data.registry import source
from msa.data.text import TextEncoder, TextScale, encoder_sha256
from msa.models.base import Model, Reference
from msa.models.finetune import FineTuned
from msa.models.layers import count_parameters
from msa.train.batches import (
    DeviceSplit,
    prepare,
    prepare_mixed,
    shapes_of,
    text_scale,
)
from msa.train.checkpoint import Checkpoint
from msa.train.config import MIXED_RATES, MIXED_VALID_RATES, ConfigError, RunConfig
from msa.train.environment import (
    check_device,
    environment,
    keep_freed_memory,
    peak_memory_mb,
    reset_peak_memory,
)
from msa.train.metrics import score
from msa.train.reconstruction import rebuilds, reconstruction_errors, scales
from msa.train.trainer import Fit, evaluate, fit


@dataclass
class RunRecord:
    """Everything that is kept of a finished run.

    Attributes
    ----------
    config : dict
        The run's configuration.
    run_id : str
        Its content hash.
    metrics : dict of str to dict of str to float
        Split to metric to value (fractions; NaN where undefined).
    curves : list of dict
        Rows ``epoch, split, term, value``; empty for closed-form references.
    predictions : ndarray of float32, shape (N_test,)
        Test predictions in row order; NaN for rows that were not evaluated.
    best_epoch, epochs : int
        Chosen epoch and epochs trained (0 for closed-form references).
    seconds : dict of str to float
        Wall time of the phases ``prepare``, ``train`` and ``test``; that of a training
        that was broken off and went on is the sum of its parts.
    parameters : int
        Trained parameters, those of a fine-tuned text encoder included.
    peak_memory_mb : float
        Largest memory during the run (:func:`msa.train.environment.peak_memory_mb`), or
        during its last part if it was broken off and went on.
    environment : dict
        Versions, device, commit, and the hashes of data and encoder.
    evaluations : list of dict
        Rows ``evaluation, split, missing_rate, pattern, metric, value``: the chosen
        checkpoint at the configuration's further rates (``evaluation`` is ``"rate"``)
        and with its further patterns (``"pattern"``).
    epoch_metrics : list of dict
        Rows ``epoch, split, metric, value`` on valid and test, where ``selection`` is
        ``"all"``; epoch 0 for a reference, which has no other.
    reconstruction : list of dict
        Rows ``split, missing_rate, pattern, modality, method, metric, n, value`` where
        ``reconstruction_error`` is on (``msa.train.reconstruction``).
    sample_errors : list of dict
        With each of these tests: ``missing_rate, pattern`` and by modality the
        reconstruction error of every test sample, float32 (N_test,).
    """

    config: dict
    run_id: str
    metrics: dict[str, dict[str, float]]
    curves: list[dict]
    predictions: np.ndarray
    best_epoch: int
    epochs: int
    seconds: dict[str, float]
    parameters: int
    peak_memory_mb: float
    environment: dict = field(default_factory=dict)
    evaluations: list[dict] = field(default_factory=list)
    epoch_metrics: list[dict] = field(default_factory=list)
    reconstruction: list[dict] = field(default_factory=list)
    sample_errors: list[dict] = field(default_factory=list)


@functools.lru_cache(maxsize=1)
def _dataset(dataset: str, view: str) -> Dataset:
    return load(dataset, view)


@functools.lru_cache(maxsize=1)
def _text_scale(dataset: str, view: str, encoder: str, device: str) -> TextScale:
    return text_scale(_dataset(dataset, view), encoder, device)


@functools.lru_cache(maxsize=2)
def _prepared(dataset: str, view: str, **damage: Any) -> dict[str, DeviceSplit]:
    """Keep the last damaged data sets: a study asks for them again and again."""
    return prepare(_dataset(dataset, view), **damage)


@functools.lru_cache(maxsize=1)
def _prepared_mixed(dataset: str, view: str, **damage: Any) -> dict[str, DeviceSplit]:
    return prepare_mixed(
        _dataset(dataset, view),
        rates=MIXED_RATES,
        valid_rates=MIXED_VALID_RATES,
        **damage,
    )


def _damage(config: RunConfig, device: str) -> dict[str, Any]:
    """Say how a split is damaged, besides its rate and pattern."""
    return {
        "encoder": config.encoder,
        "encoder_mode": config.encoder_mode,
        "mask_seed": config.mask_seed,
        "spare_prompt": bool(config.spare_prompt),
        "device": device,
    } | _scaled(config, device)


def _scaled(config: RunConfig, device: str) -> dict[str, Any]:
    """Say what text features are scaled with, where they are."""
    if not config.text_scale:
        return {}
    of = (config.dataset, config.view, config.encoder, device)
    return {"scale": _text_scale(*of)}


def splits_of(config: RunConfig, device: str = "cpu") -> dict[str, DeviceSplit]:
    """Return the damaged splits that a configuration trains and tests on."""
    damage = {**_damage(config, device), "missing_pattern": config.pattern}
    if config.train_rates:
        return _prepared_mixed(config.dataset, config.view, seed=config.seed, **damage)
    return _prepared(
        config.dataset, config.view, missing_rate=config.missing_rate, **damage
    )


def build(config: RunConfig) -> Model | Reference:
    """Return the untrained system of a configuration, initialised from its seed.

    Raises
    ------
    ConfigError
        If its hyper-parameters do not go together.
    """
    torch.manual_seed(config.seed)
    data = _dataset(config.dataset, config.view)
    entry = config.entry
    hyper = entry.hyper(**config.hyper)
    shapes = shapes_of(data, config.encoder)
    try:
        model = entry.build(shapes, hyper)
    except (ValueError, AssertionError) as error:  # PyTorch's own layers assert
        raise ConfigError(f"{entry.name}: {error}") from error
    if config.encoder_mode == "frozen":
        return model
    return FineTuned(TextEncoder(config.encoder), model)


def _evaluated_rows(config: RunConfig, split: DeviceSplit) -> int:
    """Return how many rows of a split count: all, but for a variant that drops some."""
    hyper = config.entry.hyper(**config.hyper)
    return split.complete(hyper.batch_size) if hyper.drop_last else len(split)


def run(
    config: RunConfig,
    device: str = "cpu",
    progress: bool = False,
    tell: Callable[[str], None] | None = None,
    checkpoint: Path | None = None,
) -> RunRecord:
    """Run a configuration.

    On the CPU one thread is used, whatever the machine has: sums are then taken in the
    same order everywhere, so the same seed gives the same bits, and a study packs the
    cores with runs instead. Numbers too small for full precision (below 1.2e-38) count
    as 0: weights that an L2 penalty has worn down would take ten times as long.

    Parameters
    ----------
    config : RunConfig
    device : str
        ``"cpu"`` or ``"cuda"``.
    progress : bool
        Whether to show a progress bar over epochs.
    tell : callable, optional
        Called with every note of the data set (:class:`msa.data.load.Dataset`) before
        the training.
    checkpoint : Path, optional
        File that the training goes on from, and keeps its state in
        (:class:`msa.train.checkpoint.Checkpoint`); whoever names it removes it. A run
        whose ``selection`` is ``"all"`` makes no use of it.

    Raises
    ------
    DeviceError
        If there is no such device here.
    CommitError
        If ``MSA_COMMIT`` names no commit; nothing was trained then.
    DataError, EncoderError
        If data or encoder are missing or damaged.
    ConfigError
        If the model cannot be built so, or does not do what is asked of it.
    NonFiniteLoss
        If training diverges.
    """
    check_device(device)
    if device == "cpu":
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        keep_freed_memory()
    else:  # full single precision, as on the CPU; convolutions would halve the digits
        torch.backends.cudnn.allow_tf32 = False
    place = environment(device)  # now: what it refuses loses no finished training
    reset_peak_memory(device)
    clock = [time.perf_counter()]
    splits = splits_of(config, device)
    model = build(config)
    data = _dataset(config.dataset, config.view)
    place |= {
        "data_sha256": data.sha256,
        "encoder_sha256": encoder_sha256(config.encoder),
    }
    clock.append(time.perf_counter())
    for note in data.notes if tell else ():
        tell(note)
    watch = _Watch(config, model, splits)
    kept = None
    if checkpoint is not None and config.keeps_checkpoints:
        kept = Checkpoint(checkpoint, config.run_id, {**place, "torch_device": device})
    history, parameters = _train(config, model, splits, device, progress, watch, kept)
    clock.append(time.perf_counter())
    tested = {
        name: _tested(config, model, splits[name], history.epochs) for name in SPLITS
    }
    clock.append(time.perf_counter())
    further = _Further(config, model, splits, history.epochs)
    further.test_all(data, device)
    clock.append(time.perf_counter())
    phases = ["prepare", "train", "test", "evaluate"][: 4 if further.used else 3]
    earlier = {"train": history.earlier}
    return RunRecord(
        config=config.model_dump(),
        run_id=config.run_id,
        metrics={name: scores for name, (_, scores) in tested.items()},
        curves=history.curves,
        predictions=tested["test"][0],
        best_epoch=history.best_epoch,
        epochs=history.epochs,
        seconds={
            name: round(earlier.get(name, 0.0) + end - start, 3)
            for name, start, end in zip(phases, clock, clock[1:], strict=False)
        },
        parameters=parameters,
        peak_memory_mb=peak_memory_mb(device),
        environment=place,
        evaluations=further.evaluations,
        epoch_metrics=watch.rows,
        reconstruction=further.reconstruction,
        sample_errors=further.sample_errors,
    )


def _train(
    config: RunConfig,
    model: Model | Reference,
    splits: dict[str, DeviceSplit],
    device: str,
    progress: bool,
    watch: _Watch,
    checkpoint: Checkpoint | None,
) -> tuple[Fit, int]:
    """Train, or solve a reference; return how it went and the number of parameters."""
    if isinstance(model, Reference):
        _check_reference(config)
        started = time.perf_counter()
        model.fit(splits["train"].whole(), splits["valid"].whole())
        history = Fit(seconds=time.perf_counter() - started)
        if config.selection:
            watch(0)
        return history, model.count_parameters()
    model.to(device)
    _check_reconstructs(config, model, splits["train"])
    history = fit(
        model,
        splits["train"],
        splits["valid"],
        config.entry.hyper(**config.hyper),
        seed=config.order_seed,
        max_epochs=config.max_epochs,
        progress=progress,
        watch=watch if config.selection else None,
        checkpoint=checkpoint,
    )
    return history, count_parameters(model)


class _Watch:
    """Scores a model on valid and test whenever it is called, and keeps the rows."""

    def __init__(
        self,
        config: RunConfig,
        model: Model | Reference,
        splits: dict[str, DeviceSplit],
    ) -> None:
        self.config, self.model, self.splits = config, model, splits
        self.rows: list[dict] = []

    def __call__(self, epoch: int) -> None:
        for name in ("valid", "test"):
            _, scores = _tested(self.config, self.model, self.splits[name], epoch)
            self.rows += [
                {"epoch": epoch, "split": name, "metric": metric, "value": value}
                for metric, value in scores.items()
            ]


def _tested(
    config: RunConfig, model: Model | Reference, split: DeviceSplit, epoch: int
) -> tuple[NDArray[np.float32], dict[str, float]]:
    """Predict a split, (N,), and score what was predicted."""
    rows = _evaluated_rows(config, split)
    if isinstance(model, Reference):
        predicted = model.predict(split.whole())
    else:
        predicted = evaluate(model, split, epoch, rows)[0]
    predictions = predicted.numpy().astype(np.float32)
    scale = source(config.dataset, config.view).scale
    truth = split.labels.cpu().numpy()
    return predictions, score(predictions[:rows], truth[:rows], scale)


def _check_reference(config: RunConfig) -> None:
    if config.reconstruction_error:
        raise ConfigError(f"{config.model} is a reference and reconstructs nothing")


def _check_reconstructs(config: RunConfig, model: Model, split: DeviceSplit) -> None:
    """Refuse before the training what could only be refused after it."""
    if config.reconstruction_error and not rebuilds(model, split):
        raise ConfigError(
            f"{config.model} ({config.variant}) reconstructs nothing in training at "
            f"missing_rate {config.missing_rate:g}: there is no reconstruction_error "
            "to measure"
        )


class _Further:
    """Tests of a finished run beyond its own test split, and what they found."""

    def __init__(
        self,
        config: RunConfig,
        model: Model | Reference,
        splits: dict[str, DeviceSplit],
        epoch: int,
    ) -> None:
        self.config, self.model = config, model
        self.splits, self.epoch = splits, epoch
        self.evaluations: list[dict] = []
        self.reconstruction: list[dict] = []
        self.sample_errors: list[dict] = []
        self.used = bool(config.evaluations or config.reconstruction_error)
        self._features = (
            scales(splits["train"]) if config.reconstruction_error else None
        )

    def test_all(self, data: Dataset, device: str) -> None:
        config = self.config
        self._rebuild(self.splits["test"], config.missing_rate, config.pattern)
        for rate, pattern in config.evaluations:
            damage = {"missing_rate": rate, "missing_pattern": pattern}
            split = prepare(data, ["test"], **damage, **_damage(config, device))["test"]
            self._score(split, rate, pattern)
            self._rebuild(split, rate, pattern)

    def _score(self, split: DeviceSplit, rate: float, pattern: str) -> None:
        _, scores = _tested(self.config, self.model, split, self.epoch)
        kind = "rate" if pattern == self.config.pattern else "pattern"
        where = {"split": "test", "missing_rate": rate, "pattern": pattern}
        self.evaluations += [
            {"evaluation": kind, **where, "metric": metric, "value": value}
            for metric, value in scores.items()
        ]

    def _rebuild(self, split: DeviceSplit, rate: float, pattern: str) -> None:
        where = {"missing_rate": rate, "pattern": pattern}
        done = any(where.items() <= found.items() for found in self.reconstruction)
        if self._features is None or not split.damaged or done:
            return
        predictions, _ = evaluate(self.model, split, self.epoch)
        errors = (predictions - split.labels.cpu()).abs().numpy()
        rows, samples = reconstruction_errors(self.model, split, self._features, errors)
        self.reconstruction += [{"split": "test", **where, **row} for row in rows]
        self.sample_errors.append({**where, **samples})
