"""Seconds per epoch, steps per second and peak memory of one model.

Measured on a few steps of the real training loop, after one warm-up pass over the same
rows, and scaled to the rows of a whole epoch. Every measurement has a process of its
own, so that one model's memory is not another's.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import torch

from msa.bench import inputs
from msa.bench.counts import macs_per_sample
from msa.bench.plain_tfr_net import PlainTFRNet
from msa.models.base import Hyper, Model
from msa.models.finetune import FineTuned
from msa.models.layers import count_parameters
from msa.models.registry import MODELS, ModelEntry, UnknownModel, model_entry
from msa.train.batches import DeviceSplit
from msa.train.environment import (
    environment,
    keep_freed_memory,
    peak_memory_mb,
    reset_peak_memory,
)
from msa.train.trainer import evaluate, fit

PLAIN = "TFR-Net (plain)"
"""Name of the module-by-module TFR-Net among the measured systems."""

EPOCHS = 2
"""Passes over the measured rows: some models do more from the second epoch on."""

STEPS = {"clip-context": 20, "papers": 4}
"""Mini-batches in each measured pass, by kind of shape, if no other number is given."""

LARGEST_BATCH = {"clip-context": None, "papers": 24}
"""Bound on the batch, by kind of shape: attention over hundreds of steps for MulT's
usual 128 samples would need more memory than most machines have. 24 is the papers'
own."""

_FEW = 2
"""Validation rows while the training pass is timed; validation is timed by itself."""


class BenchError(RuntimeError):
    """A measurement that went wrong; the message says of what and why."""


@dataclass(frozen=True)
class Job:
    """What to measure.

    Attributes
    ----------
    model, variant : str
        A trained model of the registry, or ``PLAIN``.
    dataset : str
    shapes : {"clip-context", "papers"}
    encoder_mode : {"frozen", "finetune"}
    steps : int
        Mini-batches in each measured pass.
    threads : int
    device : str
    """

    model: str
    variant: str
    dataset: str = "mosi"
    shapes: str = "clip-context"
    encoder_mode: str = "frozen"
    steps: int = 20
    threads: int = 2
    device: str = "cpu"


def trained_models() -> list[str]:
    """Return the systems that can be measured: all that are trained, and ``PLAIN``."""
    names = []
    for name, entry in MODELS.items():
        names += [name] if entry.is_trained else []
        names += [PLAIN] if name == "TFR-Net" else []
    return names


def entry_of(name: str) -> ModelEntry:
    """Look a system up by name.

    Raises
    ------
    UnknownModel
        If there is none of that name that is trained.
    """
    if name == PLAIN:
        return replace(
            MODELS["TFR-Net"], name=PLAIN, build=PlainTFRNet, variants={"paper": {}}
        )
    entry = model_entry(name)
    if entry.name not in trained_models():
        raise UnknownModel(f"{entry.name} is solved in closed form: it has no epochs")
    return entry


def measure(job: Job) -> dict[str, object]:
    """Measure a job in this process.

    Returns
    -------
    dict
        A row of ``results/benchmarks/models.csv``: the job, what it ran on, and

        ``seconds_per_epoch``
            One training pass and one validation pass over all rows (scaled).
        ``steps_per_second``
            Mini-batches trained per second, each through all stages of the model.
        ``peak_memory_mb``
            Largest resident memory of the process, libraries and data included; on a
            GPU, of the device.
        ``parameters``, ``macs_per_sample``
            The model without the text encoder, at full length.
    """
    torch.set_num_threads(job.threads)
    if job.device == "cpu":
        keep_freed_memory()
    reset_peak_memory(job.device)
    entry = entry_of(job.model)
    hyper = _bounded(entry.resolve(job.dataset, job.variant), job.shapes)
    work = inputs.workload(
        job.dataset,
        job.shapes,
        job.encoder_mode,
        rows=job.steps * hyper.batch_size,
        device=job.device,
    )
    model, cost = _built(entry, hyper, work, job)
    train = inputs.choose(work.train, job.steps * hyper.batch_size)
    valid = work.valid
    if job.shapes == "papers":  # every row costs the same: a batch of them will do
        valid = inputs.choose(valid, hyper.batch_size)
    training, validation = _seconds(model, train, valid, hyper)
    steps = -(-len(train) // hyper.batch_size)  # rounded up
    whole = {"train": training / len(train), "valid": validation / len(valid)}
    return {
        "model": entry.name,
        "variant": job.variant,
        "dataset": job.dataset,
        "shapes": job.shapes,
        "encoder_mode": job.encoder_mode,
        "encoder": work.encoder,
        "content": work.content,
        "missing_rate": inputs.MISSING_RATE,
        "batch_size": hyper.batch_size,
        "steps": steps * EPOCHS,
        "seconds_per_epoch": sum(whole[name] * n for name, n in work.whole.items()),
        "steps_per_second": steps / training,
        "peak_memory_mb": peak_memory_mb(job.device),
        **cost,
        **run_environment(job.device),
    }


def measure_apart(job: Job) -> dict[str, object]:
    """Measure a job in a fresh process, as :func:`measure` does.

    Raises
    ------
    BenchError
        Naming the job, if it fails or its process is killed.
    """
    context = multiprocessing.get_context("spawn")
    try:
        # A pool of its own: a killed process breaks the pool for all jobs to come.
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(measure, job).result()
    except Exception as error:
        raise BenchError(
            f"{job.model} ({job.variant}), {job.shapes}, {job.encoder_mode} failed: "
            f"{type(error).__name__}: {error}"
        ) from error


def _bounded(hyper: Hyper, shapes: str) -> Hyper:
    limit = LARGEST_BATCH[shapes]
    if limit is None or hyper.batch_size <= limit:
        return hyper
    return hyper.model_copy(update={"batch_size": limit})


def _built(
    entry: ModelEntry, hyper: Hyper, work: inputs.Workload, job: Job
) -> tuple[Model, dict[str, int]]:
    torch.manual_seed(inputs.SEED)
    model = entry.build(work.shapes, hyper)
    cost = {
        "parameters": count_parameters(model),
        "macs_per_sample": macs_per_sample(model, work.shapes),
    }
    if job.encoder_mode == "finetune":
        model = FineTuned(inputs.text_encoder(work), model)
    return model.to(job.device), cost


def _seconds(
    model: Model, train: DeviceSplit, valid: DeviceSplit, hyper: Hyper
) -> tuple[float, float]:
    """Return seconds of a training pass over ``train``, and of one over ``valid``."""
    few = inputs.choose(valid, _FEW)

    def train_for(epochs: int) -> float:
        found = fit(model, train, few, hyper, seed=inputs.SEED, max_epochs=epochs)
        return found.seconds / found.epochs

    train_for(1)  # warm-up
    training = train_for(EPOCHS)
    evaluate(model, valid, 1)  # warm-up
    started = time.perf_counter()
    evaluate(model, valid, 1)
    return training, time.perf_counter() - started


def run_environment(device: str) -> dict[str, object]:
    """Return what a measurement runs on, as the published times have it."""
    found = environment(device)
    kept = ("device", "device_name", "threads", "torch", "python", "commit", "dirty")
    return {key: found[key] for key in kept}
