"""Which steps go missing: the protocol that both papers inherit from TFR-Net.

Each modality of each split draws one uniform matrix from numpy's legacy generator with
a fixed seed and keeps a step where the draw exceeds the missing rate. Hence the masks
are nested across rates (a step missing at 0.3 is missing at 0.5), they do not change
with the run seed, and the valid and test masks repeat the first rows of the train mask.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from msa.data.contract import MODALITIES, Split

SEEDS = (111, 1111, 11111)
"""Mask seeds of text, audio and vision in the released code of both papers."""


def redrawn_seeds(mask_seed: int) -> tuple[int, int, int]:
    """Derive three mask seeds from one, to re-draw the masks for a run.

    Parameters
    ----------
    mask_seed : int
        Any integer from 0.

    Returns
    -------
    tuple of int
        Distinct seeds of text, audio and vision. Distinct, because equal seeds would
        remove the same steps of two modalities of equal length.

    Raises
    ------
    ValueError
        If ``mask_seed`` is negative.
    """
    if mask_seed < 0:
        raise ValueError(f"mask_seed is {mask_seed}; it must be 0 or more")
    # More words than needed, so that a repeated one can be passed over.
    words = np.random.SeedSequence(mask_seed).generate_state(8).tolist()
    text, audio, vision = list(dict.fromkeys(words))[:3]
    return text, audio, vision


def kept_masks(
    split: Split, rate: float, seeds: tuple[int, int, int] = SEEDS
) -> dict[str, Tensor]:
    """Mark the steps that are left at a missing rate.

    Parameters
    ----------
    split : Split
        A complete split.
    rate : float
        Missing rate, 0 to 1: the probability that a real step is removed.
    seeds : tuple of int
        Seeds of text, audio and vision.

    Returns
    -------
    dict of str to Tensor of bool, shape (N, T)
        Keyed by modality. True where a real step is kept; False where it is missing
        and at padding. The first and the last real token are always kept.

    Raises
    ------
    ValueError
        If the rate is not within 0 and 1.
    """
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"the missing rate is {rate}; it must be within 0 and 1")
    real = split.padding_masks()
    kept = {}
    for modality, seed in zip(MODALITIES, seeds, strict=True):
        shape = tuple(real[modality].shape)
        # The legacy generator is the protocol: a Generator would draw other masks.
        draws = np.random.RandomState(seed).uniform(size=shape)
        # A draw of exactly 0.0 does not exceed the rate 0, where all must be kept.
        survives = torch.from_numpy((draws > rate) | (rate == 0.0))
        kept[modality] = survives & real[modality]  # (N, T)
    rows = torch.arange(len(split))
    kept["text"][:, 0] = True  # [CLS]
    kept["text"][rows, real["text"].sum(1) - 1] = True  # [SEP]
    return kept


def missing_masks(
    split: Split, rate: float, seeds: tuple[int, int, int] = SEEDS
) -> dict[str, Tensor]:
    """Mark the real steps that are removed at a missing rate.

    Takes what :func:`kept_masks` takes and raises what it raises.

    Returns
    -------
    dict of str to Tensor of bool, shape (N, T)
        Keyed by modality. True where a real step is missing; False where it is kept
        and at padding.
    """
    real = split.padding_masks()
    kept = kept_masks(split, rate, seeds)
    return {modality: real[modality] & ~kept[modality] for modality in MODALITIES}
