"""Transformer encoders, several side by side, over packed sequences.

Sizes in comments: ``B`` samples, ``T`` steps of the query sequence, ``S`` steps of a
source sequence, ``P`` real steps of all samples together, ``d`` width, ``h`` heads,
``c`` channels of a head, ``E`` encoders side by side. A sample's result is untouched by
its batch neighbours and by padding.

At the sizes of these models (width 30, a dozen steps) much time goes into the number of
operations, not into arithmetic: encoders that run side by side share one stacked
product per layer.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msa.models.layers import dropout, keep_mask
from msa.models.steps import PADDED_SCORE, Steps


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


def causal_bias(queries: int, keys: int, device: torch.device) -> Tensor:
    """Additive mask (1, 1, T, S): step i sees the steps j <= i + |S - T|.

    The offset is MulT's, for sequences of different padded lengths.
    """
    unseen = torch.ones(queries, keys, dtype=torch.bool, device=device)
    unseen = unseen.triu(1 + abs(keys - queries))
    bias = torch.zeros(queries, keys, device=device)
    return bias.masked_fill_(unseen, PADDED_SCORE)[None, None]


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


class _Attention(torch.autograd.Function):
    """Masked attention on the CPU, with few passes over the weights.

    ``torch.softmax`` leaves its vectorised path for the short rows that are usual here,
    and autograd would keep four copies of the weights; this keeps one (and the mask).
    """

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, p: float) -> Tensor:  # noqa: ANN001
        shape = q.shape
        q, k, v = (x.flatten(0, 1) for x in (q, k, v))  # (B·h, ·, c)
        weights = torch.bmm(q, k.transpose(1, 2))
        weights.view(*shape[:3], -1).add_(bias)
        weights.sub_(weights.amax(-1, keepdim=True)).exp_()
        weights.div_(weights.sum(-1, keepdim=True))
        keep = keep_mask(weights.shape, p) if p > 0 else None
        ctx.save_for_backward(q, k, v, weights, keep)
        mixed = torch.bmm(weights if keep is None else weights * keep, v)
        return mixed.view(shape)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:  # noqa: ANN001
        q, k, v, weights, keep = ctx.saved_tensors
        batch, heads = grad.shape[:2]
        grad = grad.flatten(0, 1)
        used = weights if keep is None else weights * keep
        grad_v = torch.bmm(used.transpose(1, 2), grad)
        scores = torch.bmm(grad, v.transpose(1, 2))
        if keep is not None:
            scores.mul_(keep)
        scores.mul_(weights)  # softmax: w * (g - sum(w * g))
        scores.sub_(weights * scores.sum(-1, keepdim=True))
        grad_q = torch.bmm(scores, k)
        grad_k = torch.bmm(scores.transpose(1, 2), q)
        parts = (x.unflatten(0, (batch, heads)) for x in (grad_q, grad_k, grad_v))
        return *parts, None, None


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, p: float) -> Tensor:
    """Scaled dot-product attention.

    Parameters
    ----------
    q : Tensor, shape (B, h, T, c)
        Already scaled by 1 / sqrt(c).
    k, v : Tensor, shape (B, h, S, c)
    bias : Tensor, shape (B, 1, 1, S) or (B, 1, T, S)
        :attr:`Steps.bias` of the keys, plus :func:`causal_bias` if steps have an order.
    p : float
        Dropout on the attention weights (0 in evaluation).

    Returns
    -------
    Tensor, shape (B, h, T, c)
    """
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, bias, dropout_p=p, scale=1.0)
    return _Attention.apply(q, k, v, bias, p)


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
    residual; a last norm closes the stack (MulT's encoder, which both papers reuse).
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

    def split_heads(self, x: Tensor, steps: Steps) -> Tensor:
        """Unpack (..., P, d) to (..., B, h, T, d/h)."""
        padded = steps.pad(x).unflatten(-1, (self.heads, -1))
        return padded.transpose(-2, -3).contiguous()

    def forward(
        self,
        x: Tensor,
        steps: Steps,
        sources: tuple[tuple[Tensor, Steps] | None, ...] = (None,),
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

        Returns
        -------
        Tensor, shape (E, P, d)
        """
        rows, width = x.shape
        scale = (width // self.heads) ** -0.5
        x = x.expand(self.count, rows, width)
        read = [None if s is None else normalise(s[0]) for s in sources]
        biases = [
            self._bias(steps, steps if s is None else s[1], x.device) for s in sources
        ]
        for layer in self.layers:
            seen = normalise(x)  # (E, P, d)
            q = self.split_heads(layer.query(seen) * scale, steps)  # (E, B, h, T, c)
            # Unbound at once: picking one encoder at a time would fill a gradient of
            # all of them with zeros, once for each.
            weight, offset = (x.unbind() for x in layer.key_value.folded())
            heads = []
            for e, (own, source, query) in enumerate(
                zip(seen.unbind(), sources, q.unbind(), strict=True)
            ):
                keys = own if read[e] is None else read[e]
                where = steps if source is None else source[1]
                kv = torch.addmm(offset[e], keys, weight[e])  # (P_s, 2d)
                k, v = (self.split_heads(half, where) for half in kv.chunk(2, -1))
                p = self.attention_dropout[e] if self.training else 0.0
                heads.append(attend(query, k, v, biases[e], p))
            mixed = torch.stack(heads).transpose(2, 3).flatten(3)  # (E, B, T, d)
            mixed = layer.out(steps.pack(mixed))
            x = x + self._drop(mixed, self.residual_dropout)
            hidden = layer.expand(normalise(x)).relu()
            hidden = layer.contract(self._drop(hidden, self.relu_dropout))
            x = x + self._drop(hidden, self.residual_dropout)
        return normalise(x) * self.last_gain + self.last_offset

    def _bias(self, queries: Steps, keys: Steps, device: torch.device) -> Tensor:
        if not self.causal:
            return keys.bias
        return keys.bias + causal_bias(queries.steps, keys.steps, device)

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

    def forward(self, x: Tensor, steps: Steps) -> Tensor:
        """Encode packed sequences (P, d) into (P, d)."""
        if self.positions:
            x = embed(x, steps, 0.0, self.training, self.skip_zeros)
        return self.bank(x, steps)[0]
