"""Which steps go missing: the protocol that both papers inherit from TFR-Net.

Each modality of each split draws one uniform matrix from numpy's legacy generator with
a fixed seed and keeps a step where the draw exceeds the missing rate. Hence the masks
are nested across rates (a step missing at 0.3 is missing at 0.5), they do not change
with the run seed, and the valid and test masks repeat the first rows of the train mask.

Beyond the papers, :data:`PATTERNS` names other things that can be missing: steps of one
modality only, a whole modality, or bursts of neighbouring steps.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msa.data.contract import MODALITIES, Split

SEEDS = (111, 1111, 11111)
"""Mask seeds of text, audio and vision in the released code of both papers."""

PROTOCOL_PATTERN = "protocol"
"""Name of the papers' own pattern: every step of every modality on its own."""

PATTERNS = {
    PROTOCOL_PATTERN: "each step of each modality on its own",
    **{m: f"each step of {m} on its own, the others complete" for m in MODALITIES},
    **{f"no-{m}": f"the whole of {m}, the others complete" for m in MODALITIES},
    "bursts": "runs of neighbouring steps, in each modality on its own",
}
"""What can be missing, by name, with what it means."""

BURST_SHARE = 0.25
"""Length of a burst as a share of a sequence's real steps, so that a burst means the
same in a sentence of ten tokens and in a recording of some hundred frames."""

SHORTEST_BURST = 2
"""Steps of a burst in a short sequence; a burst of one step would be no burst."""


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


def check_pattern(pattern: str, rate: float) -> None:
    """Refuse a pattern that does not exist or does not go with a missing rate.

    Raises
    ------
    ValueError
        If the rate is not within 0 and 1, if there is no such pattern, or if a whole
        modality is to be missing at a rate below 1.
    """
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"the missing rate is {rate}; it must be within 0 and 1")
    if pattern not in PATTERNS:
        raise ValueError(
            f"no missing pattern {pattern!r}; known: {', '.join(PATTERNS)}"
        )
    if pattern.startswith("no-") and rate != 1.0:
        raise ValueError(
            f"missing pattern {pattern!r} removes a whole modality: its missing rate "
            f"must be 1, got {rate:g} (pattern {pattern[3:]!r} takes any rate)"
        )


def kept_masks(
    split: Split,
    rate: float,
    seeds: tuple[int, int, int] = SEEDS,
    pattern: str = PROTOCOL_PATTERN,
    prompt: int = 0,
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
    pattern : str
        One of :data:`PATTERNS`. With any of them a step of a modality that can be
        missing at all is missing with probability ``rate``, and a step that is missing
        at a rate is missing at every higher one. A modality alone misses the steps
        that the protocol removes from it.
    prompt : int
        Tokens behind the first one that are always kept.

    Returns
    -------
    dict of str to Tensor of bool, shape (N, T)
        Keyed by modality. True where a real step is kept; False where it is missing
        and at padding. The first and the last real token are always kept, and those
        of the prompt.

    Raises
    ------
    ValueError
        As :func:`check_pattern`.
    """
    check_pattern(pattern, rate)
    real = split.padding_masks()
    touched = pattern.removeprefix("no-")
    kept = {}
    for modality, seed in zip(MODALITIES, seeds, strict=True):
        if touched in MODALITIES and touched != modality:
            kept[modality] = real[modality].clone()
            continue
        if pattern == "bursts":
            draws = _burst_draws(real[modality].numpy(), seed)
        else:
            # The legacy generator is the protocol: a Generator would draw other masks.
            shape = tuple(real[modality].shape)
            draws = np.random.RandomState(seed).uniform(size=shape)
        # A draw of exactly 0.0 does not exceed the rate 0, where all must be kept.
        survives = torch.from_numpy((draws > rate) | (rate == 0.0))
        kept[modality] = survives & real[modality]  # (N, T)
    rows = torch.arange(len(split))
    kept["text"][:, : 1 + prompt] = real["text"][:, : 1 + prompt]  # [CLS], prompt
    kept["text"][rows, real["text"].sum(1) - 1] = True  # [SEP]
    return kept


def _burst_draws(real: NDArray[np.bool_], seed: int) -> NDArray[np.float64]:
    """Draw one uniform number per burst: (N, T), equal within a burst.

    Each row is cut into stretches of ``BURST_SHARE`` of its real steps, rounded up, and
    at least ``SHORTEST_BURST``; a draw of its own says where in a stretch the row
    begins. Stretches are missing one by one, so neighbouring ones can join.
    """
    rows, steps = real.shape
    draws = np.random.RandomState(seed).uniform(size=(rows, steps + 1))
    length = np.maximum(np.ceil(BURST_SHARE * real.sum(1)), SHORTEST_BURST)  # (N,)
    begin = np.floor(draws[:, 0] * length)
    burst = (np.arange(steps) + begin[:, None]) // length[:, None]  # (N, T)
    return np.take_along_axis(draws[:, 1:], burst.astype(int), axis=1)


def missing_masks(
    split: Split,
    rate: float,
    seeds: tuple[int, int, int] = SEEDS,
    pattern: str = PROTOCOL_PATTERN,
    prompt: int = 0,
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
    kept = kept_masks(split, rate, seeds, pattern, prompt)
    return {modality: real[modality] & ~kept[modality] for modality in MODALITIES}
