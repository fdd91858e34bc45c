"""One run from its configuration: load, damage, train, test, record."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from msa.data.contract import SPLITS
from msa.data.load import Dataset, load
from msa.data.text import TextEncoder, encoder_sha256
from msa.models.base import Model, Reference
from msa.models.finetune import FineTuned
from msa.models.layers import count_parameters
from msa.train.batches import DeviceSplit, prepare, shapes_of
from msa.train.config import ConfigError, RunConfig
from msa.train.environment import environment, peak_memory_mb, reset_peak_memory
from msa.train.metrics import score
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
        Wall time of the phases ``prepare``, ``train`` and ``test``.
    parameters : int
        Trained parameters, those of a fine-tuned text encoder included.
    peak_memory_mb : float
        Largest resident memory of the process during the run, or of the GPU.
    environment : dict
        Versions, device, commit, and the hashes of data and encoder.
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


@functools.lru_cache(maxsize=1)
def _dataset(dataset: str, view: str) -> Dataset:
    return load(dataset, view)


@functools.lru_cache(maxsize=2)
def _prepared(
    dataset: str,
    view: str,
    encoder: str,
    encoder_mode: str,
    missing_rate: float,
    mask_seed: int | None,
    device: str,
) -> dict[str, DeviceSplit]:
    """Keep the last damaged data sets: a study asks for them again and again."""
    return prepare(
        _dataset(dataset, view),
        encoder=encoder,
        encoder_mode=encoder_mode,
        missing_rate=missing_rate,
        mask_seed=mask_seed,
        device=device,
    )


def splits_of(config: RunConfig, device: str = "cpu") -> dict[str, DeviceSplit]:
    """Return the damaged splits that a configuration trains and tests on."""
    return _prepared(
        config.dataset,
        config.view,
        config.encoder,
        config.encoder_mode,
        config.missing_rate,
        config.mask_seed,
        device,
    )


def build(config: RunConfig) -> Model | Reference:
    """Return the untrained system of a configuration, initialised from its seed.

    Raises
    ------
    ConfigError
        If a closed-form reference is asked to fine-tune an encoder.
    """
    torch.manual_seed(config.seed)
    data = _dataset(config.dataset, config.view)
    entry = config.entry
    hyper = entry.hyper(**config.hyper)
    model = entry.build(shapes_of(data, config.encoder), hyper)
    if config.encoder_mode == "frozen":
        return model
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{config.model} is solved in closed form: use a frozen one")
    return FineTuned(TextEncoder(config.encoder), model)


def _evaluated_rows(config: RunConfig, split: DeviceSplit) -> int:
    """Return how many rows of a split count: all, but for a variant that drops some."""
    hyper = config.entry.hyper(**config.hyper)
    return split.complete(hyper.batch_size) if hyper.drop_last else len(split)


def run(config: RunConfig, device: str = "cpu", progress: bool = False) -> RunRecord:
    """Run a configuration.

    On the CPU one thread is used, whatever the machine has: sums are then taken in the
    same order everywhere, so the same seed gives the same bits, and a study packs the
    cores with runs instead.

    Parameters
    ----------
    config : RunConfig
    device : str
        ``"cpu"`` or ``"cuda"``.
    progress : bool
        Whether to show a progress bar over epochs.

    Raises
    ------
    DataError, EncoderError
        If data or encoder are missing or damaged.
    NonFiniteLoss
        If training diverges.
    """
    if device == "cpu":
        torch.set_num_threads(1)
        reset_peak_memory()
    else:
        torch.cuda.reset_peak_memory_stats()
    clock = [time.perf_counter()]
    splits = splits_of(config, device)
    model = build(config)
    clock.append(time.perf_counter())
    scale = _dataset(config.dataset, config.view).source.scale
    if isinstance(model, Reference):
        model.fit(splits["train"].whole(), splits["valid"].whole())
        history = Fit(seconds=time.perf_counter() - clock[-1])
        parameters = model.count_parameters()
    else:
        model.to(device)
        parameters = count_parameters(model)
        history = fit(
            model,
            splits["train"],
            splits["valid"],
            config.entry.hyper(**config.hyper),
            seed=config.seed,
            max_epochs=config.max_epochs,
            progress=progress,
        )
    clock.append(time.perf_counter())
    rows = {name: _evaluated_rows(config, splits[name]) for name in SPLITS}
    predictions = {
        name: (
            model.predict(splits[name].whole())
            if isinstance(model, Reference)
            else evaluate(model, splits[name], history.epochs, rows[name])[0]
        )
        .numpy()
        .astype(np.float32)
        for name in SPLITS
    }
    metrics = {
        name: score(
            predictions[name][: rows[name]],
            splits[name].labels[: rows[name]].cpu().numpy(),
            scale,
        )
        for name in SPLITS
    }
    clock.append(time.perf_counter())
    phases = zip(("prepare", "train", "test"), clock, clock[1:], strict=False)
    return RunRecord(
        config=config.model_dump(),
        run_id=config.run_id,
        metrics=metrics,
        curves=history.curves,
        predictions=predictions["test"],
        best_epoch=history.best_epoch,
        epochs=history.epochs,
        seconds={name: round(end - start, 3) for name, start, end in phases},
        parameters=parameters,
        peak_memory_mb=(
            peak_memory_mb()
            if device == "cpu"
            else torch.cuda.max_memory_allocated() / 2**20
        ),
        environment={
            **environment(device),
            "data_sha256": _dataset(config.dataset, config.view).sha256,
            "encoder_sha256": encoder_sha256(config.encoder),
        },
    )
