"""Transformer encoders, several side by side, over packed sequences.

Sizes in comments: ``P`` real steps of all samples together, ``d`` width, ``E`` encoders
side by side. A sample's result is untouched by its batch neighbours and by padding.

At the sizes of these models (width 30, a dozen steps) much time goes into the number of
operations, not into arithmetic: encoders that run side by side share one stacked
product per layer.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msa.models.attention import Attention
from msa.models.layers import dropout
from msa.models.steps import Steps


def sinusoid(steps: int, width: int, device: torch.device) -> Tensor:
    """Sinusoidal positions (T, d), sines in the first half, cosines in the second.

    Positions count from 1, so that no step has the code of an absent one (zeros).
    """
    half = width // 2
    rates = torch.exp(
        torch.arange(half, device=device) * (-math.log(10000.0) / max(half - 1, 1))
    )
    angles = torch.arange(1, steps + 1, device=device)[:, None] * rates  # (T, d/2)
    codes = torch.cat([angles.sin(), angles.cos()], 1)
    return F.pad(codes, (0, width - codes.shape[1]))


class StackedLinear(nn.Module):
    """``E`` affine maps side by side, each with a layer norm in front if asked.

    The norm's gain and offset are folded into the map, so that one normalisation of
    the input serves all of them: W(gx + b) + c = (Wg)x + (Wb + c).

    Parameters
    ----------
    count : int
        Number of maps ``E``.
    inputs, outputs : int
        Widths.
    norm : bool
        Whether each map has a layer norm of its own in front; the input must then
        come through :func:`normalise`.
    """

    def __init__(
        self, count: int, inputs: int, outputs: int, norm: bool = False
    ) -> None:
        super().__init__()
        bound = math.sqrt(6 / (inputs + outputs))  # Xavier uniform
        self.weight = nn.Parameter(torch.empty(count, inputs, outputs))
        nn.init.uniform_(self.weight, -bound, bound)
        self.bias = nn.Parameter(torch.zeros(count, 1, outputs))
        self.gain = nn.Parameter(torch.ones(count, inputs, 1)) if norm else None
        self.offset = nn.Parameter(torch.zeros(count, 1, inputs)) if norm else None

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight (E, inputs, outputs), bias (E, 1, outputs), norm folded in."""
        if self.gain is None:
            return self.weight, self.bias
        return self.weight * self.gain, torch.baddbmm(
            self.bias, self.offset, self.weight
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (E, M, inputs) to (E, M, outputs)."""
        weight, bias = self.folded()
        return torch.baddbmm(bias, x, weight)


def normalise(x: Tensor) -> Tensor:
    """Layer normalisation without gain and offset, over the last axis."""
    return F.layer_norm(x, x.shape[-1:])


class EncoderLayer(nn.Module):
    """One pre-norm Transformer layer of ``E`` encoders side by side."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.query = StackedLinear(count, width, width, norm=True)
        self.key_value = StackedLinear(count, width, 2 * width, norm=True)
        self.out = StackedLinear(count, width, width)
        self.expand = StackedLinear(count, width, 4 * width, norm=True)
        self.contract = StackedLinear(count, 4 * width, width)


class EncoderBank(nn.Module):
    """``E`` Transformer encoders that read the same query sequence, side by side.

    Encoder ``e`` attends either to itself (self-attention, ``source`` None) or to a
    source sequence, whose keys and values are taken from its embedding in every layer.
    A layer is: norm, attention, dropout, residual; norm, FFN (width 4d, ReLU), dropout,
    residual; a last norm closes the stack (MulT's encoder, as in both papers' code).
    The norm in front of attention has one gain and offset for queries, another for
    keys and values.

    Parameters
    ----------
    count : int
        Number of encoders ``E``.
    width, heads, layers : int
    attention_dropout : sequence of float, length E
        On the attention weights of each encoder.
    relu_dropout, residual_dropout : float
    causal : bool
        Whether a step sees no later ones (released variants).
    """

    def __init__(
        self,
        count: int,
        width: int,
        heads: int,
        layers: int,
        attention_dropout: tuple[float, ...],
        relu_dropout: float = 0.0,
        residual_dropout: float = 0.0,
        causal: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.count, self.heads = count, heads
        self.attention_dropout = attention_dropout
        self.relu_dropout, self.residual_dropout = relu_dropout, residual_dropout
        self.causal = causal
        self.layers = nn.ModuleList(EncoderLayer(count, width) for _ in range(layers))
        self.last_gain = nn.Parameter(torch.ones(count, 1, width))
        self.last_offset = nn.Parameter(torch.zeros(count, 1, width))

    def forward(
        self,
        x: Tensor,
        steps: Steps,
        sources: tuple[tuple[Tensor, Steps] | None, ...] = (None,),
        leading: Steps | None = None,
    ) -> Tensor:
        """Run all encoders.

        Parameters
        ----------
        x : Tensor, shape (P, d)
            Embedded query sequences.
        steps : Steps
            Of the query sequences.
        sources : tuple of length E
            None for self-attention, else (packed sequences, their steps).
        leading : Steps, optional
            Of the first rows of ``x``, where these alone are read afterwards: the last
            layer then works on them alone. All rows when left out.

        Returns
        -------
        Tensor, shape (E, P, d), P being the leading rows where these are asked for

        Raises
        ------
        ValueError
            If causal encoders are asked for leading rows: a mask goes by all steps.
        """
        if self.causal and leading is not None:
            raise ValueError("causal encoders cannot be read at leading rows alone")
        x = x.expand(self.count, *x.shape)
        read = [None if s is None else normalise(s[0]) for s in sources]
        keys = [steps if s is None else s[1] for s in sources]
        attentions = self._attentions(steps, keys)
        *layers, last = self.layers
        for layer in layers:
            x = self._layer(layer, x, normalise(x), read, attentions)
        seen = normalise(x)  # (E, P, d)
        if leading is not None:
            attentions = self._attentions(leading, keys)
            x = x[:, : len(leading.rows)]
        x = self._layer(last, x, seen, read, attentions)
        return normalise(x) * self.last_gain + self.last_offset

    def _attentions(self, queries: Steps, keys: list[Steps]) -> list[Attention]:
        """Return the attention of every encoder."""
        return [Attention(queries, own, self.heads, self.causal) for own in keys]

    def _layer(
        self,
        layer: EncoderLayer,
        x: Tensor,
        seen: Tensor,
        read: list[Tensor | None],
        attentions: list[Attention],
    ) -> Tensor:
        """Run one layer of all encoders on the first rows of what they have seen.

        ``x`` is (E, P, d), ``seen`` the normalised sequences, (E, P or more, d), and
        ``read`` those of the sources.
        """
        scale = (x.shape[-1] // self.heads) ** -0.5
        q = layer.query(seen[:, : x.shape[1]]) * scale  # (E, P, d)
        # Unbound at once: picking one encoder at a time would fill a gradient of all
        # of them with zeros, once for each.
        weight, offset = (part.unbind() for part in layer.key_value.folded())
        mixed = []
        for e, (own, query) in enumerate(zip(seen.unbind(), q.unbind(), strict=True)):
            keys = own if read[e] is None else read[e]
            kv = torch.addmm(offset[e], keys, weight[e])  # (P_s, 2d)
            p = self.attention_dropout[e] if self.training else 0.0
            mixed.append(attentions[e](query, kv, p))  # (P, d)
        x = x + self._drop(layer.out(torch.stack(mixed)), self.residual_dropout)
        hidden = layer.expand(normalise(x)).relu()
        hidden = layer.contract(self._drop(hidden, self.relu_dropout))
        return x + self._drop(hidden, self.residual_dropout)

    def _drop(self, x: Tensor, p: float) -> Tensor:
        return dropout(x, p, self.training)


def embed(
    x: Tensor, steps: Steps, p: float, training: bool, skip_zeros: bool = False
) -> Tensor:
    """Scale (P, d) by sqrt(d), add positions, drop: what encoders with positions read.

    ``skip_zeros`` gives no position to a step whose first channel is exactly 0
    (released variants).
    """
    codes = sinusoid(steps.steps, x.shape[1], x.device)[steps.clock]
    if skip_zeros:
        codes = codes * (x[:, :1] != 0)
    return dropout(math.sqrt(x.shape[1]) * x + codes, p, training)


class TransformerEncoder(nn.Module):
    """A self-attention encoder with sinusoidal positions: one encoder of a bank.

    Parameters
    ----------
    width, heads, layers : int
    positions : bool
        Whether to scale the input and add positions first; else it is read as it is.
    attention, relu, residual : float
        Dropout on attention weights, in the FFN, and on the residual branches.
    causal, skip_zeros : bool
        See :class:`EncoderBank` and :func:`embed`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        *,
        positions: bool = True,
        attention: float = 0.0,
        relu: float = 0.0,
        residual: float = 0.0,
        causal: bool = False,
        skip_zeros: bool = False,
    ) -> None:
        super().__init__()
        self.positions, self.skip_zeros = positions, skip_zeros
        self.bank = EncoderBank(
            1, width, heads, layers, (attention,), relu, residual, causal
        )

    def forward(self, x: Tensor, steps: Steps, leading: Steps | None = None) -> Tensor:
        """Encode packed sequences (P, d) into (P, d), or the ``leading`` rows alone."""
        if self.positions:
            x = embed(x, steps, 0.0, self.training, self.skip_zeros)
        return self.bank(x, steps, leading=leading)[0]
