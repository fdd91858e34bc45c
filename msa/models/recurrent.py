"""Bidirectional GRU and LSTM over packed sequences, both directions in one scan.

Sizes in comments: ``B`` samples, ``T`` steps, ``P`` real steps of all samples together,
``h`` hidden units. A sample's result is untouched by its batch neighbours and by
padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from msa.models.layers import dropout
from msa.models.steps import Steps, gather_rows, scatter_rows


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
        layer = self.library_layer if x.is_cuda else self.scan_layer
        for weights in zip(
            self.weight_input,
            self.bias_input,
            self.weight_state,
            self.bias_state,
            strict=True,
        ):
            states = layer(x, steps, weights)  # (T, 2, B, h)
            states = gather_rows(states.flatten(0, 2), steps.scan_rows)
            x = torch.cat(states.chunk(2), -1)  # (P, 2h)
        return x

    def scan_layer(self, x: Tensor, steps: Steps, weights: tuple) -> Tensor:
        """Map (P, inputs) to (T, 2, B, h), both directions in one loop over time.

        ``weights`` are those of one layer: of the input (2, inputs, gates) and of the
        state (2, h, gates), each followed by its bias (2, 1, gates).
        """
        w_in, b_in, w_state, b_state = weights
        scan = (_GRUScan if self.cell == "gru" else _LSTMScan).apply
        gates = torch.baddbmm(b_in, x.expand(2, -1, -1), w_in)  # (2, P, gates)
        return scan(self._by_time(gates.flatten(0, 1), steps), w_state, b_state)

    def library_layer(self, x: Tensor, steps: Steps, weights: tuple) -> Tensor:
        """Do the same by torch's own layer, one call a direction, for a GPU.

        There a loop over time is a kernel a step and more; cuDNN has one for all. The
        backward direction arrives reversed, so neither needs the lengths.
        """
        w_in, b_in, w_state, b_state = weights
        run = torch.gru if self.cell == "gru" else torch.lstm
        x = self._by_time(x.repeat(2, 1), steps)  # (T, 2, B, inputs)
        zeros = x.new_zeros(1, steps.batch, self.hidden)
        begin = zeros if self.cell == "gru" else (zeros, zeros)
        options = True, 1, 0.0, torch.is_grad_enabled(), False, False
        states = []
        for k in range(2):
            own = w_in[k].T, w_state[k].T, b_in[k, 0], b_state[k, 0]
            own = [weight.contiguous() for weight in own]
            states.append(run(x[:, k], begin, own, *options)[0])
        return torch.stack(states, 1)

    @staticmethod
    def _by_time(rows: Tensor, steps: Steps) -> Tensor:
        """Lay (2·P, d) out as (T, 2, B, d); the second direction runs backwards."""
        size = steps.steps * 2 * steps.batch
        rows = scatter_rows(rows, steps.scan_rows, size, 0.0)
        return rows.view(steps.steps, 2, steps.batch, -1)


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
