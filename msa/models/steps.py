"""Packed sequences: one row per real step, and where each row belongs.

Sizes in comments: ``B`` samples, ``T`` steps, ``P`` real steps of all samples together,
``d`` width. Masks are True at real steps.

Sentences differ in length by an order of magnitude, so most of a padded batch would be
padding. Sequences therefore travel *packed*, (P, d); attention and recurrence unpack
for the moment they need time.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

PADDED_SCORE = -60.0
"""Added to the attention score of a padded key. exp(-60) is lost in a float32 sum, so
padding has no effect, exactly, while a step's largest real score is above -35; a larger
number would only make exp() produce denormal numbers, which are a hundred times slower
on the CPU."""


class _Scatter(torch.autograd.Function):
    """Rows to distinct places; the backward picks them up again."""

    @staticmethod
    def forward(ctx, x: Tensor, places: Tensor, size: int, fill: float) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(places)
        out = x.new_full((*x.shape[:-2], size, x.shape[-1]), fill)
        return out.index_copy_(x.dim() - 2, places, x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:  # noqa: ANN001
        (places,) = ctx.saved_tensors
        return grad.index_select(grad.dim() - 2, places), None, None, None


class _Gather(torch.autograd.Function):
    """Rows from distinct places; the backward puts them back."""

    @staticmethod
    def forward(ctx, x: Tensor, places: Tensor) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(places)
        ctx.size = x.shape[-2]
        return x.index_select(x.dim() - 2, places)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:  # noqa: ANN001
        (places,) = ctx.saved_tensors
        out = grad.new_zeros((*grad.shape[:-2], ctx.size, grad.shape[-1]))
        return out.index_copy_(grad.dim() - 2, places, grad), None


def scatter_rows(x: Tensor, places: Tensor, size: int, fill: float = 0.0) -> Tensor:
    """Put rows (..., P, d) at distinct places of (..., size, d), ``fill`` elsewhere."""
    return _Scatter.apply(x, places, size, fill)


def gather_rows(x: Tensor, places: Tensor) -> Tensor:
    """Pick the rows (..., P, d) at distinct places of (..., size, d)."""
    return _Gather.apply(x, places)


class Steps:
    """Where the real steps of one modality stand in a padded batch.

    Parameters
    ----------
    mask : Tensor of bool, shape (B, T)
        True at real steps.
    rows : Tensor of int64, shape (P,), optional
        Flat positions b·T + t of the real steps, in the order of packed rows. Given
        where they are known without asking the device; otherwise read off the mask.
    """

    def __init__(self, mask: Tensor, rows: Tensor | None = None) -> None:
        self.mask = mask
        self.batch, self.steps = mask.shape
        self.rows = mask.flatten().nonzero()[:, 0] if rows is None else rows
        self.real = self

    @classmethod
    def full(cls, batch: int, steps: int, device: torch.device) -> Steps:
        """Return B sequences of T steps, all of them real."""
        everything = torch.ones(batch, steps, dtype=torch.bool, device=device)
        return cls(everything, torch.arange(batch * steps, device=device))

    def with_padding(self) -> Steps:
        """Return steps that count padding as real (released variants only).

        What attends, convolves, pools or resamples by them sees the padding; recurrent
        layers and reconstruction losses read :attr:`real`, the sequences themselves.
        """
        padded = Steps.full(self.batch, self.steps, self.mask.device)
        padded.real = self
        return padded

    def only_real(self, x: Tensor) -> Tensor:
        """Leave the padding's rows of packed (..., P, d) out, if there are any."""
        return x if self.real is self else self.real.pack(self.pad(x))

    @cached_property
    def lengths(self) -> Tensor:
        """Real steps of each sample, int64, shape (B,)."""
        return self.mask.sum(1)

    @cached_property
    def bias(self) -> Tensor:
        """Additive attention mask (B, 1, 1, T): 0 at real keys."""
        bias = torch.zeros(self.mask.shape, device=self.mask.device)
        return bias.masked_fill_(~self.mask, PADDED_SCORE)[:, None, None]

    @cached_property
    def clock(self) -> Tensor:
        """Time step of each packed row, counted from 0, shape (P,)."""
        return self.rows % self.steps

    @cached_property
    def scan_rows(self) -> Tensor:
        """Places in a (T, 2, B) layout, forward then backward direction, (2P,).

        The backward direction counts from each sample's own last step.
        """
        sample, step = self.rows // self.steps, self.clock
        mirrored = self.lengths[sample] - 1 - step
        ahead = step * 2 * self.batch + sample
        behind = mirrored * 2 * self.batch + self.batch + sample
        return torch.cat([ahead, behind])

    def pack(self, x: Tensor) -> Tensor:
        """(..., B, T, d) to (..., P, d)."""
        return gather_rows(x.flatten(-3, -2), self.rows)

    def pad(self, x: Tensor, fill: float = 0.0) -> Tensor:
        """(..., P, d) to (..., B, T, d), ``fill`` at padding."""
        flat = scatter_rows(x, self.rows, self.batch * self.steps, fill)
        return flat.unflatten(-2, (self.batch, self.steps))

    def max(self, x: Tensor) -> Tensor:
        """Maximum over time: (P, d) to (B, d)."""
        return self.pad(x, -torch.inf).amax(1)

    @cached_property
    def last(self) -> Tensor:
        """Packed row of each sample's last real step, shape (B,)."""
        return self.lengths.cumsum(0) - 1

    @cached_property
    def first(self) -> Tensor:
        """Packed row of each sample's first step, shape (B,)."""
        return self.last - self.lengths + 1

    def behind_hub(self, tokens: int) -> Steps:
        """Return the steps of the sequence with a hub of tokens in front.

        Packed rows are then the hub's B·k rows, followed by the sequence's.
        """
        batch, steps = self.batch, self.steps + tokens
        there = self.mask.new_ones(batch, tokens)
        device = self.mask.device
        hub = torch.arange(batch, device=device)[:, None] * steps + torch.arange(
            tokens, device=device
        )
        sequence = self.rows // self.steps * steps + tokens + self.clock
        rows = torch.cat([hub.flatten(), sequence])
        return Steps(torch.cat([there, self.mask], 1), rows)
