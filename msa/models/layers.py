"""Layers that several models share, written once.

Sizes in comments: ``B`` samples, ``T`` steps of the query sequence, ``S`` steps of a
source sequence, ``d`` width, ``h`` heads or hidden units, ``E`` encoders side by side.
Masks are True at real steps. Every layer here leaves a sample's result untouched by
its batch neighbours and by padding.

At the sizes of these models (width 30, a dozen steps) time goes into the number of
operations, not into arithmetic. So encoders that run side by side share one stacked
product per layer, recurrent layers run both directions in one scan, and dropout draws
16-bit integers instead of floats.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Inverted dropout, the same distribution as ``F.dropout``, faster on the CPU.

    One 64-bit draw decides four elements; ``p`` is met to within 2^-16.
    """
    if not training or p == 0.0:
        return x
    if x.is_cuda:
        return F.dropout(x, p)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64)
    draws.random_(-(2**63), None)
    lanes = draws.view(torch.int16)[: x.numel()].view(x.shape)
    keep = lanes >= round(p * 2**16) - 2**15
    return x * (keep.to(x.dtype) * (1 / (1 - p)))


class Dropout(nn.Module):
    """Module form of :func:`dropout`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of ``x`` (any shape) while training."""
        return dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """Show the rate in the printed model."""
        return f"p={self.p}"


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


def masked_max(x: Tensor, mask: Tensor) -> Tensor:
    """Maximum over the real steps of (B, T, d), shape (B, d)."""
    return x.masked_fill(~mask[..., None], -torch.inf).amax(1)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real steps of (B, T, d), shape (B, d)."""
    weight = mask[..., None].to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def attention_bias(mask: Tensor) -> Tensor:
    """Additive attention mask (B, 1, 1, S): 0 at real keys, -inf at padding."""
    bias = torch.zeros(mask.shape, device=mask.device)
    return bias.masked_fill_(~mask, -torch.inf)[:, None, None]


def smooth_l1(rebuilt: Tensor, target: Tensor, where: Tensor) -> Tensor:
    """Smooth-L1 distance (beta 1) averaged over chosen steps.

    Parameters
    ----------
    rebuilt, target : Tensor, shape (B, T, d)
    where : Tensor of bool, shape (B, T)
        Steps that count.

    Returns
    -------
    scalar Tensor
        Sum over the chosen steps and all features, divided by their number (+ 1e-4:
        0 where no step is chosen).
    """
    loss = F.smooth_l1_loss(rebuilt, target, reduction="none").sum(-1)  # (B, T)
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


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, p: float) -> Tensor:
    """Scaled dot-product attention.

    Parameters
    ----------
    q : Tensor, shape (B, h, T, c)
        Already scaled by 1 / sqrt(c).
    k, v : Tensor, shape (B, h, S, c)
    bias : Tensor or None, broadcast to (B, h, T, S)
    p : float
        Dropout on the attention weights (0 in evaluation).

    Returns
    -------
    Tensor, shape (B, h, T, c)
    """
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, bias, dropout_p=p, scale=1.0)
    scores = q @ k.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return dropout(scores.softmax(-1), p, p > 0) @ v


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

    Parameters
    ----------
    count : int
        Number of encoders ``E``.
    width, heads, layers : int
    attention_dropout : sequence of float, length E
        On the attention weights of each encoder.
    relu_dropout, residual_dropout : float
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
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.count, self.heads = count, heads
        self.attention_dropout = attention_dropout
        self.relu_dropout, self.residual_dropout = relu_dropout, residual_dropout
        self.layers = nn.ModuleList(EncoderLayer(count, width) for _ in range(layers))
        self.last_gain = nn.Parameter(torch.ones(count, 1, width))
        self.last_offset = nn.Parameter(torch.zeros(count, 1, width))

    def split_heads(self, x: Tensor, batch: int) -> Tensor:
        """(B·T, d) to (B, h, T, d/h)."""
        return x.view(batch, -1, self.heads, x.shape[-1] // self.heads).transpose(1, 2)

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None,
        sources: tuple[tuple[Tensor, Tensor | None] | None, ...] = (None,),
    ) -> Tensor:
        """Run all encoders.

        Parameters
        ----------
        x : Tensor, shape (B, T, d)
            Embedded query sequence.
        bias : Tensor or None, shape (B, 1, 1, T)
            :func:`attention_bias` of the query sequence, used by self-attention.
        sources : tuple of length E
            None for self-attention, else (sequence (B, S, d), its attention bias).

        Returns
        -------
        Tensor, shape (E, B, T, d)
        """
        batch, steps, width = x.shape
        scale = (width // self.heads) ** -0.5
        flat = x.reshape(1, batch * steps, width).expand(self.count, -1, -1)
        read = [None if s is None else normalise(s[0]).flatten(0, 1) for s in sources]
        for layer in self.layers:
            seen = normalise(flat)  # (E, B·T, d)
            q = layer.query(seen) * scale
            weight, offset = layer.key_value.folded()
            heads = []
            for e, source in enumerate(sources):
                keys = seen[e] if read[e] is None else read[e]
                kv = torch.addmm(offset[e], keys, weight[e])  # (B·S, 2d)
                k, v = self.split_heads(kv, batch).chunk(2, -1)
                p = self.attention_dropout[e] if self.training else 0.0
                heads.append(
                    attend(
                        self.split_heads(q[e], batch),
                        k,
                        v,
                        bias if source is None else source[1],
                        p,
                    ).transpose(1, 2)  # (B, T, h, d/h)
                )
            mixed = torch.stack(heads).view(self.count, batch * steps, width)
            flat = flat + self._drop(layer.out(mixed), self.residual_dropout)
            hidden = layer.expand(normalise(flat)).relu()
            hidden = layer.contract(self._drop(hidden, self.relu_dropout))
            flat = flat + self._drop(hidden, self.residual_dropout)
        out = normalise(flat) * self.last_gain + self.last_offset
        return out.view(self.count, batch, steps, width)

    def _drop(self, x: Tensor, p: float) -> Tensor:
        return dropout(x, p, self.training)


def embed(x: Tensor, p: float, training: bool) -> Tensor:
    """Scale (B, T, d) by sqrt(d), add positions, drop: what every encoder reads."""
    codes = sinusoid(x.shape[1], x.shape[2], x.device)
    return dropout(math.sqrt(x.shape[2]) * x + codes, p, training)


class TransformerEncoder(nn.Module):
    """A self-attention encoder with sinusoidal positions: one encoder of a bank.

    Parameters
    ----------
    width, heads, layers : int
    positions : bool
        Whether to scale the input and add positions first.
    attention, relu, residual : float
        Dropout on attention weights, in the FFN, and on the residual branches.
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
    ) -> None:
        super().__init__()
        self.positions = positions
        self.bank = EncoderBank(1, width, heads, layers, (attention,), relu, residual)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode (B, T, d) under a mask (B, T) into (B, T, d)."""
        if self.positions:
            x = embed(x, 0.0, self.training)
        return self.bank(x, attention_bias(mask))[0]


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
        recurrent = gates.new_empty(steps, 2, batch, hidden)  # W_hn h + b_hn
        states = gates.new_zeros(steps + 1, 2, batch, hidden)
        for t in range(steps):
            moved = torch.baddbmm(bias, states[t], weight)  # (2, B, 3h)
            gate = rz[t].add_(moved[..., : 2 * hidden]).sigmoid_()
            recurrent[t] = moved[..., 2 * hidden :]
            new = n[t].addcmul_(gate[..., :hidden], recurrent[t]).tanh_()
            torch.lerp(new, states[t], gate[..., hidden:], out=states[t + 1])
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
        for t in range(len(n) - 1, -1, -1):
            now = torch.add(carried, grad[t], out=flowing[t])
            torch.mul(now.repeat(1, 1, 3), factors[t], out=moved[t])
            carried = torch.baddbmm(now * z[t], moved[t], back)
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

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode (B, T, inputs) under a mask (B, T) into (B, T, 2h), 0 at padding."""
        batch, steps, _ = x.shape
        scan = (_GRUScan if self.cell == "gru" else _LSTMScan).apply
        clock = torch.arange(steps, device=x.device)
        mirror = mask.sum(1, keepdim=True) - 1 - clock  # (B, T)
        mirror = torch.where(mirror >= 0, mirror, clock)[..., None]
        for w_in, b_in, w_state, b_state in zip(
            self.weight_input,
            self.bias_input,
            self.weight_state,
            self.bias_state,
            strict=True,
        ):
            both = torch.stack([x, x.gather(1, mirror.expand_as(x))])  # (2, B, T, ·)
            rows = both.transpose(1, 2).flatten(1, 2)  # (2, T·B, ·)
            gates = torch.baddbmm(b_in, rows, w_in).view(2, steps, batch, -1)
            states = scan(gates.transpose(0, 1), w_state, b_state)  # (T, 2, B, h)
            ahead, behind = states.permute(1, 2, 0, 3)  # (B, T, h) each
            behind = behind.gather(1, mirror.expand_as(behind))
            x = torch.cat([ahead, behind], -1)
        return x * mask[..., None]


class Conv(nn.Module):
    """Length-preserving 1-D convolution over the steps of (B, T, d)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, bias: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, inputs) to (B, T, outputs); padding must be 0 on entry."""
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


def count_parameters(module: nn.Module) -> int:
    """Return the number of trained parameters of a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
