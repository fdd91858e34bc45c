"""A damaged split on the training device, and mini-batches cut from it by index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from msa.data.contract import MODALITIES, SPLITS, Split, padding_mask
from msa.data.load import Dataset
from msa.data.missing import SEEDS, missing_masks, redrawn_seeds
from msa.data.text import encoder_config, encoder_ids, frozen_features, special_id
from msa.models.base import Batch, Shape, Shapes


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
    dataset: Dataset,
    *,
    encoder: str,
    encoder_mode: str,
    missing_rate: float,
    mask_seed: int | None = None,
    device: str | torch.device = "cpu",
) -> dict[str, DeviceSplit]:
    """Damage every split of a data set and put it on the device.

    Parameters
    ----------
    dataset : Dataset
    encoder : str
        Text encoder.
    encoder_mode : {"frozen", "finetune"}
        Frozen: text features are computed here, or read from the disk cache.
    missing_rate : float
    mask_seed : int or None
        None for the protocol's fixed masks.
    device : str or torch.device

    Returns
    -------
    dict of str to DeviceSplit
        Keyed by split.
    """
    seeds = SEEDS if mask_seed is None else redrawn_seeds(mask_seed)
    unknown = special_id(encoder, "[UNK]")
    out = {}
    for name in SPLITS:
        split = _with_encoder_ids(dataset.splits[name], encoder)
        missing = missing_masks(split, missing_rate, seeds)
        mask = split.padding_masks()
        complete = {"audio": split.audio, "vision": split.vision}
        damaged = {
            m: x.masked_fill(missing[m][..., None], 0.0) for m, x in complete.items()
        }
        ids = {
            "damaged": damaged_ids(split.token_ids, missing["text"], unknown),
            "complete": split.token_ids,
        }
        if encoder_mode == "frozen":
            for key, sequences in (("damaged", damaged), ("complete", complete)):
                if key == "complete" and missing_rate == 0.0:
                    continue  # DeviceSplit takes the damaged ones: they are the same
                sequences["text"] = frozen_features(
                    encoder, ids[key], split.token_mask, device
                )
            ids = {}
        out[name] = DeviceSplit(
            name,
            damaged,
            complete,
            mask,
            missing,
            split.labels,
            split.modality_labels,
            ids,
            device,
        )
    return out


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
