"""Layers that several models share, written once.

Sizes in comments: ``B`` samples, ``T`` steps of the query sequence, ``S`` steps of a
source sequence, ``P`` real steps of all samples together, ``d`` width, ``h`` heads or
hidden units, ``E`` encoders side by side. Masks are True at real steps. Every layer
here leaves a sample's result untouched by its batch neighbours and by padding.

Sequences travel *packed*: one row per real step, (P, d). Sentences differ in length by
an order of magnitude, so most of a padded batch would be padding. :class:`Steps` knows
where each row belongs; attention and recurrence unpack for the moment they need time.

At the sizes of these models (width 30, a dozen steps) much time goes into the number of
operations, not into arithmetic. So encoders that run side by side share one stacked
product per layer, recurrent layers run both directions in one scan, and dropout draws
16-bit integers instead of floats.
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PADDED_SCORE = -60.0
"""Added to the attention score of a padded key. exp(-60) is lost in any float32 sum, so
padding has no effect, exactly; a larger number would only make exp() produce denormal
numbers, a hundred times slower on the CPU."""


def keep_mask(shape: tuple[int, ...] | torch.Size, p: float) -> Tensor:
    """Draw a dropout mask on the CPU: 1 / (1 - p) where kept, else 0.

    One 64-bit draw decides four elements; ``p`` is met to within 2^-16. Integer and
    float passes only, because passes over booleans are not vectorised.
    """
    count = math.prod(shape)
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    lanes = draws.view(torch.int16)[:count].view(shape).float()
    first_kept = round(p * 2**16) - 2**15
    scale = 1 / (1 - p)
    return lanes.sub_(first_kept - 1).mul_(scale).clamp_(0, scale)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Inverted dropout, the same distribution as ``F.dropout``, faster on the CPU."""
    if not training or p == 0.0:
        return x
    return F.dropout(x, p) if x.is_cuda else x * keep_mask(x.shape, p)


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


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real steps of a padded (B, T, d), shape (B, d)."""
    weight = mask[..., None].to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def causal_bias(queries: int, keys: int, device: torch.device) -> Tensor:
    """Additive mask (1, 1, T, S): step i sees the steps j <= i + |S - T|.

    The offset is MulT's, for sequences of different padded lengths.
    """
    unseen = torch.ones(queries, keys, dtype=torch.bool, device=device)
    unseen = unseen.triu(1 + abs(keys - queries))
    bias = torch.zeros(queries, keys, device=device)
    return bias.masked_fill_(unseen, PADDED_SCORE)[None, None]


def sentence_vector(x: Tensor, mask: Tensor, pooled: bool) -> Tensor:
    """One vector per text of a padded (B, T, d): token mean, or [CLS]; (B, d)."""
    return masked_mean(x, mask) if pooled else x[:, 0]


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

        What attends, convolves or pools by them sees the padding; recurrence still
        reads :attr:`real`, the sequences themselves.
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
        return _Gather.apply(x.flatten(-3, -2), self.rows)

    def pad(self, x: Tensor, fill: float = 0.0) -> Tensor:
        """(..., P, d) to (..., B, T, d), ``fill`` at padding."""
        flat = _Scatter.apply(x, self.rows, self.batch * self.steps, fill)
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


class _GRUScan(torch.autograd.Function):
    """Both directions of a GRU layer, step by step, with a hand-written backward.

    The backward of one step is linear in the gradient of the hidden state, so all
    coefficients are computed for every step at once and the loop is left with two
    products. Gate order r, z, n as in ``nn.GRU``; time first: (T, 2, B, ...).
    """

    @staticmethod
    def forward(ctx, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # noqa: ANN001
        steps, _, batch, hidden = gates.shape[0], 2, gates.shape[2], weight.shape[1]
        rz = gates[..., : 2 * hidden].clone()
        n = gates[..., 2 * hidden :].clone()
        moved = gates.new_empty(steps, 2, batch, 3 * hidden)  # W h + b
        states = gates.new_zeros(steps + 1, 2, batch, hidden)
        state = states.unbind()
        recurrent = moved[..., 2 * hidden :]
        for t, (gate, new, all_moved, rz_moved, n_moved, r, z) in enumerate(
            zip(
                rz.unbind(),
                n.unbind(),
                moved.unbind(),
                moved[..., : 2 * hidden].unbind(),
                recurrent.unbind(),
                rz[..., :hidden].unbind(),
                rz[..., hidden:].unbind(),
                strict=True,
            )
        ):
            torch.baddbmm(bias, state[t], weight, out=all_moved)
            gate.add_(rz_moved).sigmoid_()
            new.addcmul_(r, n_moved).tanh_()
            torch.lerp(new, state[t], z, out=state[t + 1])
        ctx.save_for_backward(rz, n, recurrent, states, weight)
        return states[1:]

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN001
        rz, n, recurrent, states, weight = ctx.saved_tensors
        hidden = n.shape[-1]
        r, z = rz[..., :hidden], rz[..., hidden:]
        before = states[:-1]
        to_n = (1 - z) * (1 - n * n)
        to_z = (before - n) * z * (1 - z)
        to_r = to_n * recurrent * r * (1 - r)
        factors = torch.cat([to_r, to_z, to_n * r], -1)  # (T, 2, B, 3h)
        back = weight.transpose(1, 2).contiguous()
        flowing = torch.empty_like(n)  # gradient of each hidden state
        carried = torch.zeros_like(n[0])
        moved = torch.empty_like(factors)
        # Three gates side by side, so that one product serves them: (T, 2, B, 3, h).
        by_gate = factors.unflatten(-1, (3, hidden))
        backwards = zip(
            flowing.unbind(),
            flowing.unsqueeze(3).unbind(),
            grad.unbind(),
            by_gate.unbind(),
            moved.unbind(),
            moved.unflatten(-1, (3, hidden)).unbind(),
            z.unbind(),
            strict=True,
        )
        for now, wide, arriving, factor, out, gated, keep in reversed(list(backwards)):
            torch.add(carried, arriving, out=now)
            torch.mul(wide, factor, out=gated)
            carried = torch.baddbmm(now * keep, out, back)
        gates = torch.cat([moved[..., : 2 * hidden], flowing * to_n], -1)
        columns = moved.transpose(0, 1).flatten(1, 2)  # (2, T·B, 3h)
        rows = before.transpose(0, 1).flatten(1, 2)  # (2, T·B, h)
        return gates, rows.transpose(1, 2) @ columns, columns.sum(1, keepdim=True)


class _LSTMScan(torch.autograd.Function):
    """Both directions of an LSTM layer; gate order i, f, g, o as in ``nn.LSTM``."""

    @staticmethod
    def forward(ctx, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # noqa: ANN001
        steps, _, batch, hidden = gates.shape[0], 2, gates.shape[2], weight.shape[1]
        gates = gates + bias
        states = gates.new_zeros(steps + 1, 2, batch, hidden)
        cells = gates.new_zeros(steps + 1, 2, batch, hidden)
        squashed = gates.new_empty(steps, 2, batch, hidden)
        for t in range(steps):
            gate = gates[t].baddbmm_(states[t], weight)
            gate[..., : 2 * hidden].sigmoid_()
            gate[..., 2 * hidden : 3 * hidden].tanh_()
            gate[..., 3 * hidden :].sigmoid_()
            i, f, g, o = gate.chunk(4, -1)
            torch.addcmul(f * cells[t], i, g, out=cells[t + 1])
            torch.tanh(cells[t + 1], out=squashed[t])
            torch.mul(o, squashed[t], out=states[t + 1])
        ctx.save_for_backward(gates, states, cells, squashed, weight)
        return states[1:]

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN001
        gates, states, cells, squashed, weight = ctx.saved_tensors
        i, f, g, o = gates.chunk(4, -1)
        from_cell = torch.cat(
            [g * i * (1 - i), cells[:-1] * f * (1 - f), i * (1 - g * g)], -1
        )
        to_o = squashed * o * (1 - o)
        to_cell = o * (1 - squashed * squashed)
        back = weight.transpose(1, 2).contiguous()
        hidden = o.shape[-1]
        moved = torch.empty_like(gates)
        carried = torch.zeros_like(o[0])
        cell = torch.zeros_like(o[0])
        for t in range(len(o) - 1, -1, -1):
            now = carried + grad[t]
            cell = torch.addcmul(cell, now, to_cell[t])
            torch.mul(
                cell.repeat(1, 1, 3), from_cell[t], out=moved[t][..., : 3 * hidden]
            )
            torch.mul(now, to_o[t], out=moved[t][..., 3 * hidden :])
            carried = torch.bmm(moved[t], back)
            cell = cell * f[t]
        columns = moved.transpose(0, 1).flatten(1, 2)  # (2, T·B, 4h)
        rows = states[:-1].transpose(0, 1).flatten(1, 2)
        return moved, rows.transpose(1, 2) @ columns, columns.sum(1, keepdim=True)


class BiRNN(nn.Module):
    """A bidirectional GRU or LSTM over right-padded sequences.

    Equal to ``nn.GRU`` / ``nn.LSTM`` on packed sequences, given the same weights: the
    backward direction starts at each sequence's own last step.

    Parameters
    ----------
    cell : {"gru", "lstm"}
    inputs, hidden, layers : int
        Input width, hidden units per direction, stacked layers.
    """

    GATES = {"gru": 3, "lstm": 4}  # noqa: RUF012

    def __init__(self, cell: str, inputs: int, hidden: int, layers: int = 1) -> None:
        super().__init__()
        self.cell, self.hidden = cell, hidden
        bound = hidden**-0.5
        size = self.GATES[cell] * hidden

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

        self.weight_input = nn.ParameterList(
            uniform(2, inputs if n == 0 else 2 * hidden, size) for n in range(layers)
        )
        self.bias_input = nn.ParameterList(uniform(2, 1, size) for _ in range(layers))
        self.weight_state = nn.ParameterList(
            uniform(2, hidden, size) for _ in range(layers)
        )
        self.bias_state = nn.ParameterList(uniform(2, 1, size) for _ in range(layers))

    def forward(self, x: Tensor, steps: Steps) -> Tensor:
        """Encode packed sequences (P, inputs) into (P, 2h).

        Padding that counts as real (:meth:`Steps.with_padding`) is not read; its
        states are 0.
        """
        if steps.real is not steps:
            states = self(steps.only_real(x), steps.real)
            return steps.pack(steps.real.pad(states))
        scan = (_GRUScan if self.cell == "gru" else _LSTMScan).apply
        size = steps.steps * 2 * steps.batch
        for w_in, b_in, w_state, b_state in zip(
            self.weight_input,
            self.bias_input,
            self.weight_state,
            self.bias_state,
            strict=True,
        ):
            gates = torch.baddbmm(b_in, x.expand(2, -1, -1), w_in)  # (2, P, gates)
            gates = _Scatter.apply(gates.flatten(0, 1), steps.scan_rows, size, 0.0)
            gates = gates.view(steps.steps, 2, steps.batch, -1)
            states = scan(gates, w_state, b_state)  # (T, 2, B, h)
            states = _Gather.apply(states.flatten(0, 2), steps.scan_rows)
            x = torch.cat(states.chunk(2), -1)  # (P, 2h)
        return x


def final_states(states: Tensor, steps: Steps) -> Tensor:
    """Pick the final state of each direction of a :class:`BiRNN`: (P, 2h) to (B, 2h).

    The forward direction ends at a sample's last step, the backward one at its first.
    """
    ahead, behind = states.chunk(2, -1)
    ends = ahead.index_select(0, steps.last), behind.index_select(0, steps.first)
    return torch.cat(ends, -1)


class LastState(nn.Module):
    """An LSTM's state after the last real step, dropped out and mapped linearly.

    It reads forward only, so padding behind the last step never reaches that state.

    Parameters
    ----------
    inputs, hidden, outputs : int
        Input width, units of the LSTM, output width.
    drop : float
        Dropout on the state.
    """

    def __init__(
        self, inputs: int, hidden: int, outputs: int, drop: float = 0.0
    ) -> None:
        super().__init__()
        self.drop = drop
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map padded (B, T, inputs) to (B, outputs)."""
        states, _ = self.lstm(x)  # (B, T, hidden)
        last = (mask.sum(1) - 1)[:, None, None].expand(-1, 1, states.shape[-1])
        state = states.gather(1, last)[:, 0]  # (B, hidden)
        return self.linear(dropout(state, self.drop, self.training))


class Conv(nn.Module):
    """Length-preserving 1-D convolution over time, of packed sequences.

    What lies beyond a sequence's ends counts as zero.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, bias: bool = True
    ) -> None:
        super().__init__()
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
        Largest absolute value of a result; no cut when left out.
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
