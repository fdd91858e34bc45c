"""How well missing steps are rebuilt, against putting something simple in their place.

Errors are taken feature by feature in units of the feature's spread over the complete
training split, so that features count alike: 1 is the error of answering with the
training mean, up to what sets the two splits apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msa.data.contract import MODALITIES
from msa.models.base import Batch, Model
from msa.train.batches import DeviceSplit
from msa.train.trainer import EVALUATION_BATCH, fork_rng

METHODS = ("model", "zero", "mean", "last", "input")
"""What stands in for a missing step: the model's reconstruction, zeros, the training
mean, the last step before it that is not missing (the mean where there is none), and
what the model is given in its place (zeros for audio and vision; for text the encoder's
feature of [UNK], which knows the words around it)."""


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of every feature of a modality, each of shape (d,).

    A feature that never changes has the standard deviation 1.
    """

    mean: Tensor
    spread: Tensor


@torch.no_grad()
def scales(train: DeviceSplit) -> dict[str, Scale]:
    """Measure the complete features of a split over its real steps, by modality."""
    found = {}
    for m in MODALITIES:
        count, total, squares = 0, 0.0, 0.0
        for rows in torch.arange(len(train)).split(EVALUATION_BATCH):
            index = rows.to(train.device)
            x = train.targets[m][index][train.mask[m][index]].double()  # (P, d)
            count += len(x)
            total = total + x.sum(0)
            squares = squares + x.square().sum(0)
        mean = total / count
        spread = (squares / count - mean.square()).clamp(min=0).sqrt()
        spread[spread < 1e-6] = 1.0
        found[m] = Scale(mean.float(), spread.float())
    return found


def last_kept(inputs: Tensor, kept: Tensor, start: Tensor) -> Tensor:
    """Carry the last kept step forward.

    Parameters
    ----------
    inputs : Tensor, shape (B, T, d)
    kept : Tensor of bool, shape (B, T)
        Real steps that are not missing.
    start : Tensor, shape (d,)
        Stands in until the first kept step.

    Returns
    -------
    Tensor, shape (B, T, d)
    """
    steps = torch.arange(kept.shape[1], device=kept.device)
    last = torch.where(kept, steps, -1).cummax(1).values  # (B, T)
    carried = inputs.gather(
        1, last.clamp(min=0)[..., None].expand(-1, -1, inputs.shape[2])
    )
    return torch.where(last[..., None] >= 0, carried, start)


def _stand_ins(
    batch: Batch, m: str, rebuilt: Tensor, scale: Scale
) -> dict[str, Tensor]:
    """Answer every real step with each of ``METHODS``, (P, d)."""
    pack = batch.steps[m].pack
    inputs = batch.inputs[m]
    kept = batch.mask[m] & ~batch.missing[m]
    return {
        "model": rebuilt,
        "zero": torch.zeros_like(rebuilt),
        "mean": scale.mean.expand_as(rebuilt),
        "last": pack(last_kept(inputs, kept, scale.mean)),
        "input": pack(inputs),
    }


def _squared_errors(
    model: Model, split: DeviceSplit, scale: dict[str, Scale]
) -> Iterator[tuple[Tensor, str, str, Tensor, Tensor]]:
    """Yield rows, modality, method, sum of squares and missing steps per row, (B,)."""
    model.eval()
    for rows, batch in split.by_length(EVALUATION_BATCH, model.trims_padding):
        for m, rebuilt in model(batch).reconstructions.items():
            steps = batch.steps[m]
            missing = batch.missing[m].flatten()[steps.rows]  # (P,)
            owner = steps.rows // batch.mask[m].shape[1]
            target = steps.pack(batch.targets[m])
            empty = torch.zeros(len(rows), device=target.device)
            count = empty.index_add(0, owner, missing.float())
            for method, guess in _stand_ins(batch, m, rebuilt, scale[m]).items():
                error = ((guess - target) / scale[m].spread).square().mean(-1)  # (P,)
                sums = empty.index_add(0, owner, error * missing)
                yield rows, m, method, sums.cpu(), count.cpu()


def rebuilds(model: Model, split: DeviceSplit) -> bool:
    """Tell whether a model reconstructs what is missing in a split."""
    was_training = model.training
    with torch.no_grad(), fork_rng(split.device):
        few = split.batch(torch.arange(2), model.trims_padding)
        found = bool(model.eval()(few).reconstructions)
    model.train(was_training)
    return found


@torch.no_grad()
def reconstruction_errors(
    model: Model,
    split: DeviceSplit,
    scale: dict[str, Scale],
    prediction_errors: NDArray[np.floating],
) -> tuple[list[dict], dict[str, NDArray[np.float32]]]:
    """Measure how well a model rebuilds the missing steps of a split.

    Parameters
    ----------
    model : Model
        One that reconstructs.
    split : DeviceSplit
        With text features, not token ids.
    scale : dict of str to Scale
        Of the complete training split (:func:`scales`).
    prediction_errors : ndarray, shape (N,)
        Absolute error of the predicted score of each sample.

    Returns
    -------
    rows : list of dict
        ``modality, method, metric, n, value``. ``"rmse"``: root mean squared error over
        ``n`` missing steps, one row per modality and method. ``"pearson"`` and
        ``"spearman"``: correlation, over the ``n`` samples that miss a step, of the
        model's error with ``prediction_errors``; for each modality, and for modality
        ``"all"``: the root of the mean square over the modalities that miss a step.
    samples : dict of str to ndarray of float32, shape (N,)
        The model's root mean squared error of each sample, by modality and ``"all"``;
        NaN where nothing is missing.
    """
    sums: dict[tuple[str, str], NDArray] = {}
    counts: dict[str, NDArray] = {}
    for rows, m, method, squares, count in _squared_errors(model, split, scale):
        sums.setdefault((m, method), np.zeros(len(split)))[rows] = squares
        counts.setdefault(m, np.zeros(len(split)))[rows] = count
    found = [
        {
            "modality": m,
            "method": method,
            "metric": "rmse",
            "n": int(counts[m].sum()),
            "value": float(np.sqrt(squares.sum() / counts[m].sum())),
        }
        for (m, method), squares in sums.items()
        if counts[m].any()
    ]
    with np.errstate(invalid="ignore"):
        means = {m: sums[m, "model"] / counts[m] for m in counts}  # nan: none missing
    if means:
        stacked = np.stack(list(means.values()))  # (M, N)
        known = np.isfinite(stacked)
        with np.errstate(invalid="ignore"):
            means["all"] = np.where(known, stacked, 0).sum(0) / known.sum(0)
    samples = {m: np.sqrt(x).astype(np.float32) for m, x in means.items()}
    for m, errors in samples.items():
        found += _correlations(m, errors, prediction_errors)
    return found, samples


def _correlations(modality: str, errors: NDArray, others: NDArray) -> list[dict]:
    from scipy.stats import pearsonr, spearmanr  # here: it loads slowly

    # Some released variants leave rows of a split unpredicted.
    known = np.isfinite(errors) & np.isfinite(others)
    x, y = errors[known].astype(float), np.asarray(others, dtype=float)[known]
    if not known.any():
        return []
    varied = len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0
    return [
        {
            "modality": modality,
            "method": "model",
            "metric": metric,
            "n": int(known.sum()),
            "value": float(measure(x, y).statistic) if varied else float("nan"),
        }
        for metric, measure in (("pearson", pearsonr), ("spearman", spearmanr))
    ]
