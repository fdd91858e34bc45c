"""Parameters and multiply-accumulate operations (MACs), counted, not estimated."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from msa.bench.inputs import random_split
from msa.models.base import Model, Shapes

_ATEN = torch.ops.aten

_PRODUCTS = {
    _ATEN.mm: 0,
    _ATEN.bmm: 0,
    _ATEN.addmm: 1,
    _ATEN.baddbmm: 1,
    _ATEN.addmm_: 1,
    _ATEN.baddbmm_: 1,
}
"""Matrix products, and the place of their left factor; the right one follows."""


class _Counter(TorchDispatchMode):
    """Adds up the multiply-accumulate operations of products and convolutions.

    What ``torch.utils.flop_counter.FlopCounterMode`` is for; but that one misses
    products in place and takes ten times as long over recurrent layers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: tuple,
        args: tuple = (),
        kwargs: dict | None = None,
    ) -> object:
        """Run an operation and count it."""
        out = func(*args, **(kwargs or {}))
        kind = func._overloadpacket
        if kind in _PRODUCTS:
            left, right = args[_PRODUCTS[kind] :][:2]
            self.macs += left.numel() * right.shape[-1]
        elif kind is _ATEN.convolution:
            self.macs += out.numel() * args[1][0].numel()  # of one output channel
        elif kind in flop_registry:
            raise NotImplementedError(f"no formula for the operations of {kind}")
        return out


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
    with _plain_kernels(), torch.no_grad(), _Counter() as counter:
        call()
    return counter.macs


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
    sample = random_split("one sample", rows, shapes)
    batch = sample.batch(torch.tensor([0]), model.trims_padding)
    training = model.training
    model.eval()
    found = macs(lambda: model(batch))
    model.train(training)
    return found
