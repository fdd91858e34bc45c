"""A damaged split on the training device, and mini-batches cut from it by index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from msa.data.contract import MODALITIES, SPLITS, Split, padding_mask
from msa.data.load import Dataset
from msa.data.missing import (
    PROTOCOL_PATTERN,
    SEEDS,
    missing_masks,
    redrawn_seeds,
)
from msa.data.text import (
    TextScale,
    encoder_config,
    encoder_ids,
    frozen_features,
    prompt_length,
    special_id,
)
from msa.models.base import Batch, Shape, Shapes
from msa.train.config import ConfigError


class DeviceSplit:
    """One split at one missing rate, as tensors on a device.

    Nothing is copied or moved per batch: a batch is a selection of rows, cut to its
    longest sequence. Lengths are also kept on the host, so that cutting asks nothing
    of the device.

    Parameters
    ----------
    name : str
    inputs, targets : dict of str to Tensor, shape (N, T, d)
        Damaged and complete sequences; text may be half precision, or (fine-tuning)
        absent.
    mask, missing : dict of str to Tensor of bool, shape (N, T)
    labels : Tensor, shape (N,)
    modality_labels : dict of str to Tensor, shape (N,)
    token_ids : dict of str to Tensor of int64, shape (N, L)
        Damaged and complete ids where the encoder is fine-tuned, else empty.
    device : str or torch.device
    """

    def __init__(
        self,
        name: str,
        inputs: dict[str, Tensor],
        targets: dict[str, Tensor],
        mask: dict[str, Tensor],
        missing: dict[str, Tensor],
        labels: Tensor,
        modality_labels: dict[str, Tensor],
        token_ids: dict[str, Tensor],
        device: str | torch.device = "cpu",
    ) -> None:
        def moved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {key: tensor.to(device) for key, tensor in tensors.items()}

        self.name = name
        self.lengths = {m: mask[m].sum(1) for m in MODALITIES}  # on the host
        self.inputs, self.mask = moved(inputs), moved(mask)
        self.damaged = any(bool(m.any()) for m in missing.values())
        # Where nothing is missing, the complete sequences are the damaged ones.
        self.targets = moved(targets) if self.damaged else self.inputs
        self.missing = moved(missing)
        self.labels = labels.to(device)
        self.modality_labels = moved(modality_labels)
        self.token_ids = moved(token_ids)
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor, trim: bool = True) -> Batch:
        """Select rows.

        Parameters
        ----------
        rows : Tensor of int64, shape (B,)
            Row numbers, on the host.
        trim : bool
            Whether to cut each modality to its longest sequence in the batch.
        """
        if trim:
            longest = {m: int(self.lengths[m][rows].max()) for m in MODALITIES}
        else:
            longest = {m: self.mask[m].shape[1] for m in MODALITIES}
        index = rows.to(self.device, non_blocking=True)

        def cut(tensors: dict[str, Tensor], floats: bool = True) -> dict[str, Tensor]:
            chosen = {
                m: x[:, : longest[m]].index_select(0, index) for m, x in tensors.items()
            }
            return {m: x.float() for m, x in chosen.items()} if floats else chosen

        def real_rows(m: str) -> Tensor:
            mask = padding_mask(self.lengths[m][rows], longest[m])
            return mask.flatten().nonzero()[:, 0].to(self.device, non_blocking=True)

        inputs = cut(self.inputs)
        return Batch(
            inputs=inputs,
            targets=cut(self.targets) if self.damaged else inputs,
            mask=cut(self.mask, floats=False),
            missing=cut(self.missing, floats=False),
            labels=self.labels.index_select(0, index),
            index=index,
            modality_labels={
                m: x.index_select(0, index) for m, x in self.modality_labels.items()
            },
            damaged=self.damaged,
            token_ids={
                key: x[:, : longest["text"]].index_select(0, index)
                for key, x in self.token_ids.items()
            },
            rows={m: real_rows(m) for m in MODALITIES},
        )

    def whole(self) -> Batch:
        """Return the split as one batch."""
        return self.batch(torch.arange(len(self)))

    def shuffled(
        self,
        size: int,
        generator: torch.Generator,
        trim: bool = True,
        drop_last: bool = False,
    ) -> Iterator[Batch]:
        """Yield every row once, in random order; the last batch may be smaller.

        A last batch of one row joins the batch before it, because batch normalisation
        has no variance to take from a single row. ``drop_last`` leaves an incomplete
        last batch out instead.
        """
        order = torch.randperm(len(self), generator=generator)
        if drop_last:
            order = order[: self.complete(size)]
        parts = list(order.split(size))
        if len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [torch.cat(parts[-2:])]
        for rows in parts:
            yield self.batch(rows, trim)

    def complete(self, size: int) -> int:
        """Return how many rows fill whole batches (all, if there is not even one)."""
        return len(self) - len(self) % size if len(self) >= size else len(self)

    def by_length(
        self, size: int, trim: bool = True, rows: int | None = None
    ) -> Iterator[tuple[Tensor, Batch]]:
        """Yield (rows, batch), texts of similar length together.

        Over all rows, or over the first ``rows``.
        """
        order = torch.argsort(self.lengths["text"][:rows], stable=True)
        for rows in order.split(size):
            yield rows, self.batch(rows, trim)


def damaged_ids(ids: Tensor, missing: Tensor, unknown: int) -> Tensor:
    """Replace missing tokens by [UNK]; ids and missing (N, L)."""
    return ids.masked_fill(missing, unknown)


def prepare(
    dataset: Dataset, splits: Sequence[str] = SPLITS, **damage: Any
) -> dict[str, DeviceSplit]:
    """Damage splits of a data set and put them on the device.

    Parameters
    ----------
    dataset : Dataset
    splits : sequence of str
        Names of the splits to prepare.
    **damage
        As :func:`damaged_split` takes it.

    Returns
    -------
    dict of str to DeviceSplit
        Keyed by split.
    """
    return {name: damaged_split(dataset.splits[name], **damage) for name in splits}


def text_scale(
    dataset: Dataset, encoder: str, device: str | torch.device = "cpu"
) -> TextScale:
    """Measure a frozen encoder's features of the complete training split.

    Parameters
    ----------
    dataset : Dataset
    encoder : str
        Text encoder.
    device : str or torch.device
        Where to compute features that are not cached yet.

    Returns
    -------
    TextScale
        On the CPU.

    Raises
    ------
    EncoderError
        If they are all the same.
    """
    train = _with_encoder_ids(dataset.splits["train"], encoder)
    mask = train.token_mask
    features = frozen_features(encoder, train.token_ids, mask, device)
    return TextScale.of(features, mask)


def damaged_split(
    split: Split,
    *,
    encoder: str,
    encoder_mode: str,
    missing_rate: float,
    missing_pattern: str = PROTOCOL_PATTERN,
    mask_seed: int | None = None,
    scale: TextScale | None = None,
    spare_prompt: bool = False,
    device: str | torch.device = "cpu",
) -> DeviceSplit:
    """Damage a split and put it on the device.

    Parameters
    ----------
    split : Split
    encoder : str
        Text encoder.
    encoder_mode : {"frozen", "finetune"}
        Frozen: text features are computed here, or read from the disk cache.
    missing_rate : float
    missing_pattern : str
        One of ``msa.data.missing.PATTERNS``.
    mask_seed : int or None
        None for the protocol's fixed masks.
    scale : TextScale or None
        What the frozen encoder's features are scaled with, damaged and complete ones;
        None leaves them as they are.
    spare_prompt : bool
        Whether the prompt in front of every text never goes missing.
    device : str or torch.device

    Raises
    ------
    ConfigError
        If there is no prompt to spare.
    """
    seeds = SEEDS if mask_seed is None else redrawn_seeds(mask_seed)
    split = _with_encoder_ids(split, encoder)
    prompt = _prompt(split) if spare_prompt else 0
    missing = missing_masks(split, missing_rate, seeds, missing_pattern, prompt)
    complete = {"audio": split.audio, "vision": split.vision}
    damaged = {
        m: x.masked_fill(missing[m][..., None], 0.0) for m, x in complete.items()
    }
    unknown = special_id(encoder, "[UNK]")
    ids = {
        "damaged": damaged_ids(split.token_ids, missing["text"], unknown),
        "complete": split.token_ids,
    }
    if encoder_mode == "frozen":
        for key, sequences in (("damaged", damaged), ("complete", complete)):
            if key == "complete" and missing_rate == 0.0:
                continue  # DeviceSplit takes the damaged ones: they are the same
            text = frozen_features(encoder, ids[key], split.token_mask, device)
            sequences["text"] = scale.apply(text, split.token_mask) if scale else text
        ids = {}
    return DeviceSplit(
        split.name,
        damaged,
        complete,
        split.padding_masks(),
        missing,
        split.labels,
        split.modality_labels,
        ids,
        device,
    )


def prepare_mixed(
    dataset: Dataset,
    *,
    rates: Sequence[float],
    valid_rates: Sequence[float],
    seed: int,
    device: str | torch.device = "cpu",
    **damage: Any,
) -> dict[str, DeviceSplit]:
    """Damage each training sample at a rate of its own; leave the test split whole.

    Parameters
    ----------
    dataset : Dataset
    rates : sequence of float
        What the rates of the training samples are drawn from, evenly.
    valid_rates : sequence of float
        The validation split holds every sample at each of these rates, one rate after
        another, so that its loss is the mean over the rates.
    seed : int
        Of the draw; a sample keeps its rate in every epoch.
    device : str or torch.device
    **damage
        As :func:`damaged_split` takes it, without a rate.

    Returns
    -------
    dict of str to DeviceSplit
        Keyed by split.
    """
    train, valid = dataset.splits["train"], dataset.splits["valid"]
    drawn = torch.from_numpy(
        np.random.default_rng(seed).integers(len(rates), size=len(train))
    )
    parts, rows = [], []
    for place, rate in enumerate(rates):
        own = (drawn == place).nonzero()[:, 0]
        # Damaged whole: text features are cached by whole split.
        whole = damaged_split(train, missing_rate=rate, device=device, **damage)
        parts.append(_rows_of(whole, own))
        rows.append(own)
    back = torch.cat(rows).argsort()
    copies = [
        damaged_split(valid, missing_rate=rate, device=device, **damage)
        for rate in valid_rates
    ]
    every = torch.arange(len(valid))
    return {
        "train": _joined("train", parts, back, device),
        "valid": _joined(
            "valid",
            [_rows_of(copy, every) for copy in copies],
            torch.arange(len(valid) * len(copies)),
            device,
        ),
        "test": damaged_split(
            dataset.splits["test"], missing_rate=0.0, device=device, **damage
        ),
    }


_FIELDS = ("inputs", "targets", "mask", "missing", "modality_labels", "token_ids")


def _rows_of(split: DeviceSplit, rows: Tensor) -> dict[str, Any]:
    """Copy rows of everything that makes a split to the host."""

    def chosen(x: Tensor) -> Tensor:
        return x[rows.to(x.device)].cpu()

    fields = {
        name: {key: chosen(x) for key, x in getattr(split, name).items()}
        for name in _FIELDS
    }
    return {**fields, "labels": chosen(split.labels)}


def _joined(
    name: str,
    parts: Sequence[dict[str, Any]],
    order: Tensor,
    device: str | torch.device,
) -> DeviceSplit:
    """Make a split of the rows of several, in an order."""
    fields = {
        key: {
            m: torch.cat([part[key][m] for part in parts])[order] for m in parts[0][key]
        }
        for key in _FIELDS
    }
    labels = torch.cat([part["labels"] for part in parts])[order]
    return DeviceSplit(name, labels=labels, device=device, **fields)


def _prompt(split: Split) -> int:
    if length := prompt_length(split.token_ids):
        return length
    raise ConfigError(
        f"spare_prompt: no token behind [CLS] begins every text of the {split.name} "
        "split, so there is no prompt to spare; leave it off"
    )


def _with_encoder_ids(split: Split, encoder: str) -> Split:
    ids, mask = encoder_ids(split, encoder)
    return replace(split, token_ids=ids, token_mask=mask)


def shapes_of(dataset: Dataset, encoder: str) -> Shapes:
    """Return the padded length and the width of every modality."""
    train = dataset.splits["train"]
    return {
        "text": Shape(train.token_ids.shape[1], encoder_config(encoder)["hidden_size"]),
        "audio": Shape(*train.audio.shape[1:]),
        "vision": Shape(*train.vision.shape[1:]),
    }
