"""Parameters and multiply-accumulate operations (MACs), counted, not estimated."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from msa.bench.inputs import random_split
from msa.models.base import Model, Shapes


def _flops(added: tuple, left: tuple, right: tuple, **_: object) -> int:
    """Count a batch of matrix products, from the shapes (b, n, k) and (b, k, m)."""
    batch, rows, inner = left
    return 2 * batch * rows * inner * right[-1]


_IN_PLACE = {torch.ops.aten.baddbmm_: _flops}
"""Products that PyTorch's counter does not know: those that write in place."""


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """Run every product as one that the counter sees.

    Fused kernels for attention, Transformer layers and recurrent layers are single
    operations to it, and count as nothing.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.simplefilter("ignore")  # about devices that are not used
        try:
            with torch.backends.mkldnn.flags(enabled=False):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)


def macs(call: Callable[[], object]) -> int:
    """Count the multiply-accumulate operations of a call.

    Matrix products, convolutions and attention count, also inside custom autograd
    functions; element-wise operations and normalisations do not.

    Parameters
    ----------
    call : callable
        Is called once, without gradients.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_IN_PLACE)
    with _plain_kernels(), torch.no_grad(), counter:
        call()
    return counter.get_total_flops() // 2  # it counts a product and a sum as two


def macs_per_sample(
    model: Model, shapes: Shapes, lengths: dict[str, int] | None = None
) -> int:
    """Count the MACs of a forward pass of one damaged sample.

    The text arrives as features: the encoder that makes them is not counted. A
    reconstruction branch is.

    Parameters
    ----------
    model : Model
        On the CPU.
    shapes : Shapes
        Padded length and width of every modality.
    lengths : dict of str to int, optional
        Real steps per modality; every step when left out. Models that work on real
        steps alone do less on shorter sequences.
    """
    full = {m: shape.steps for m, shape in shapes.items()}
    rows = {m: torch.tensor([n]) for m, n in (lengths or full).items()}
    batch = random_split("one sample", rows, shapes).batch(torch.tensor([0]))
    training = model.training
    model.eval()
    found = macs(lambda: model(batch))
    model.train(training)
    return found
