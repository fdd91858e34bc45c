"""Small layers that several models share.

Sizes in comments: ``B`` samples, ``T`` steps, ``P`` real steps of all samples together,
``d`` width. Masks are True at real steps. Every layer here leaves a sample's result
untouched by padding and, batch normalisation in training aside, by its batch
neighbours. Larger ones have files of their own:
:mod:`msa.models.transformer` and :mod:`msa.models.recurrent`, both over the packed
sequences of :mod:`msa.models.steps`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msa.models.steps import Steps


def draw_lanes(shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Draw 16 random bits for every element on the CPU, int16; 64 bits serve four."""
    count = math.prod(shape)
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return draws.view(torch.int16)[:count].view(shape)


def kept(lanes: Tensor, p: float) -> Tensor:
    """Turn random bits into a dropout mask: 1 / (1 - p) where kept, else 0.

    ``p`` is met to within 2^-16. Integer and float passes only, because passes over
    booleans are not vectorised.
    """
    first_kept = round(p * 2**16) - 2**15
    scale = 1 / (1 - p)
    return lanes.float().sub_(first_kept - 1).mul_(scale).clamp_(0, scale)


def keep_mask(shape: tuple[int, ...] | torch.Size, p: float) -> Tensor:
    """Draw a dropout mask on the CPU: 1 / (1 - p) where kept, else 0."""
    return kept(draw_lanes(shape), p)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Inverted dropout, the same distribution as ``F.dropout``, faster on the CPU."""
    if not training or p == 0.0:
        return x
    return x * keep_mask(x.shape, p) if x.is_cpu else F.dropout(x, p)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real steps of a padded (B, T, d), shape (B, d)."""
    weight = mask[..., None].to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def sentence_vector(x: Tensor, mask: Tensor, pooled: bool) -> Tensor:
    """One vector per text of a padded (B, T, d): token mean, or [CLS]; (B, d)."""
    return masked_mean(x, mask) if pooled else x[:, 0]


def smooth_l1(rebuilt: Tensor, target: Tensor, where: Tensor) -> Tensor:
    """Smooth-L1 distance (beta 1) averaged over chosen steps.

    Parameters
    ----------
    rebuilt, target : Tensor, shape (..., d)
    where : Tensor of bool, shape (...)
        Steps that count.

    Returns
    -------
    scalar Tensor
        Sum over the chosen steps and all features, divided by their number (+ 1e-4:
        0 where no step is chosen).
    """
    loss = F.smooth_l1_loss(rebuilt, target, reduction="none").sum(-1)
    weight = where.to(loss.dtype)
    return (loss * weight).sum() / (weight.sum() * rebuilt.shape[-1] + 1e-4)


class Conv(nn.Module):
    """Length-preserving 1-D convolution over time, of packed sequences.

    What lies beyond a sequence's ends counts as zero.

    Raises
    ------
    ValueError
        If the kernel has no middle: the result would be one step longer.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, bias: bool = True
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"a convolution's kernel must be odd, got {kernel}")
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)

    def forward(self, x: Tensor, steps: Steps) -> Tensor:
        """Map (P, inputs) to (P, outputs)."""
        padded = steps.pad(x).transpose(1, 2)  # (B, inputs, T)
        return steps.pack(self.conv(padded).transpose(1, 2))


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that trains on a batch of one as well.

    A single row has no variance: it is normalised by the running statistics, which it
    leaves as they are.

    Parameters
    ----------
    width : int
    bound : float, optional
        Largest absolute value of a result, gain and offset included; no cut when left
        out.
    """

    def __init__(self, width: int, bound: float | None = None) -> None:
        super().__init__(width)
        self.bound = bound

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, d)."""
        if len(x) > 1:
            x = super().forward(x)
        else:
            mean, var = self.running_mean, self.running_var
            x = F.batch_norm(x, mean, var, self.weight, self.bias, eps=self.eps)
        return x if self.bound is None else x.clamp(-self.bound, self.bound)


def count_parameters(module: nn.Module) -> int:
    """Return the number of trained parameters of a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
