"""Attention from one packed sequence to another, samples of like length together.

Sizes in comments: ``B`` samples, ``T`` steps of the query sequence, ``S`` steps of a
source sequence, ``P`` real steps of all samples together, ``d`` width, ``h`` heads,
``c = d/h`` channels of a head, ``n`` samples of a group.

Most scores of a batch that is padded to its longest sentence are padding: their number
grows with the square of the length. On the CPU the samples are therefore put into
groups of like length, each padded to its own longest sequence.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from msa.models.layers import draw_lanes, kept
from msa.models.steps import PADDED_SCORE, Steps

MOST_GROUPS = 6
SCORES_PER_GROUP = 4096
"""Padded scores of one head that are worth a group of their own: with fewer, the
operations of another group cost more than the padding that it saves."""

WORTH_GROUPING = 0.75
"""Largest share of real scores among the padded ones with which grouping pays."""


def causal_bias(queries: int, keys: int, device: torch.device) -> Tensor:
    """Additive mask (1, 1, T, S): step i sees the steps j <= i + |S - T|.

    The offset is MulT's, for sequences of different padded lengths.
    """
    unseen = torch.ones(queries, keys, dtype=torch.bool, device=device)
    unseen = unseen.triu(1 + abs(keys - queries))
    bias = torch.zeros(queries, keys, device=device)
    return bias.masked_fill_(unseen, PADDED_SCORE)[None, None]


class Attention:
    """Scaled dot-product attention between the sequences of two :class:`Steps`.

    Made once for a batch and used for every layer: which samples go together, and where
    their rows are put, depends on the lengths alone.

    Parameters
    ----------
    queries, keys : Steps
        Of the sequences that ask and that are asked.
    heads : int
    causal : bool
        Whether a step sees no later ones (released variants).
    """

    def __init__(
        self, queries: Steps, keys: Steps, heads: int, causal: bool = False
    ) -> None:
        self.queries, self.keys, self.heads = queries, keys, heads
        self.bias = keys.bias  # (B, 1, 1, S)
        if causal:  # (B, 1, T, S)
            order = causal_bias(queries.steps, keys.steps, self.bias.device)
            self.bias = self.bias + order
        self.layout = None
        if self.bias.is_cpu:
            self.layout = _Layout(queries, keys, heads, self.bias)

    def __call__(self, q: Tensor, kv: Tensor, p: float = 0.0) -> Tensor:
        """Attend.

        Parameters
        ----------
        q : Tensor, shape (P, d)
            Packed queries, already scaled by 1 / sqrt(c).
        kv : Tensor, shape (P_s, 2d)
            Packed keys, beside them the values.
        p : float
            Dropout on the attention weights (0 in evaluation).

        Returns
        -------
        Tensor, shape (P, d)
        """
        if self.layout is not None:
            return _Attend.apply(q, kv, self.layout, p)
        q = self._by_head(q, self.queries)
        k, v = (self._by_head(x, self.keys) for x in kv.chunk(2, -1))
        mixed = F.scaled_dot_product_attention(
            q, k, v, self.bias, dropout_p=p, scale=1.0
        )
        return self.queries.pack(mixed.transpose(1, 2).flatten(2))

    def _by_head(self, x: Tensor, steps: Steps) -> Tensor:
        """Unpack (P, d) to (B, h, T, c)."""
        return steps.pad(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)


class _Side:
    """Where the rows of one packed sequence stand when its samples are in groups.

    A group's rows stand together, sample by sample, head by head, step by step:
    (n·h·T, c), T being the group's longest sequence. A row of several parts, such as
    keys and values side by side, is spread part by part, one behind the other.

    Parameters
    ----------
    steps : Steps
    groups : list of Tensor of int64, shape (n,)
        Samples, each in one group.
    heads, parts : int
    """

    def __init__(
        self, steps: Steps, groups: list[Tensor], heads: int, parts: int = 1
    ) -> None:
        begin, stride = torch.empty(2, steps.batch, dtype=torch.int64)  # by sample
        self.parts, self.longest, self.sizes = parts, [], []
        for samples in groups:
            length = int(steps.lengths[samples].max())
            rows = heads * length
            begin[samples] = sum(self.sizes) + torch.arange(len(samples)) * rows
            stride[samples] = length
            self.longest.append(length)
            self.sizes.append(len(samples) * rows)
        self.size = sum(self.sizes)
        sample = steps.rows // steps.steps
        first = (begin[sample] + steps.clock)[:, None, None]
        part = self.size * torch.arange(parts)[:, None]
        head = stride[sample, None, None] * torch.arange(heads)
        self.places = (first + part + head).flatten()  # (P·parts·h,)

    def spread(self, x: Tensor, channels: int) -> Tensor:
        """Put every head of packed (P, parts·d) at its place; 0 at padding."""
        rows = x.new_zeros(self.parts * self.size, channels)
        return rows.index_copy_(0, self.places, x.reshape(-1, channels))

    def cut(self, rows: Tensor) -> list[list[Tensor]]:
        """Cut what is spread into (n·h, T, c), by part and group."""
        return [
            [
                own.view(-1, length, rows.shape[-1])
                for own, length in zip(
                    part.split(self.sizes), self.longest, strict=True
                )
            ]
            for part in rows.split(self.size)
        ]

    def collect(self, rows: Tensor, width: int) -> Tensor:
        """Pack what is spread: the reverse of :meth:`spread`, (P, width)."""
        return rows.index_select(0, self.places).view(-1, width)


class _Layout:
    """Groups of samples of like length, and where their rows stand.

    Attributes
    ----------
    shape : tuple
        (B, h, T, S) of the padded batch.
    groups : list of Tensor of int64, shape (n,)
        Samples, each in one group.
    queries, keys : _Side
        Keys have their values beside them.
    biases : list of Tensor, shape (n, 1, 1 or T, S)
        Additive mask of each group.
    """

    def __init__(self, queries: Steps, keys: Steps, heads: int, bias: Tensor) -> None:
        self.shape = (queries.batch, heads, queries.steps, keys.steps)
        self.groups = _alike(queries, keys)
        self.queries = _Side(queries, self.groups, heads)
        self.keys = _Side(keys, self.groups, heads, parts=2)
        self.biases = [
            bias[..., :t, :s].index_select(0, samples)
            for samples, t, s in zip(
                self.groups, self.queries.longest, self.keys.longest, strict=True
            )
        ]


def _alike(queries: Steps, keys: Steps) -> list[Tensor]:
    """Group the samples of a batch by how many scores they need."""
    scores = queries.lengths * keys.lengths  # (B,)
    padded = queries.batch * queries.steps * keys.steps
    count = min(MOST_GROUPS, queries.batch, padded // SCORES_PER_GROUP)
    if count < 2 or int(scores.sum()) > WORTH_GROUPING * padded:
        return [torch.arange(queries.batch)]
    return list(scores.argsort().tensor_split(count))


class _Attend(torch.autograd.Function):
    """Attention by groups, with few passes over the weights.

    ``torch.softmax`` leaves its vectorised path for the short rows that are usual here,
    and autograd would keep four copies of the weights; this keeps one (and the mask).
    Dropout is drawn for the padded batch: grouping changes no draw.
    """

    @staticmethod
    def forward(ctx, q: Tensor, kv: Tensor, layout: _Layout, p: float) -> Tensor:  # noqa: ANN001
        channels = q.shape[-1] // layout.shape[1]
        q_rows = layout.queries.spread(q, channels)
        kv_rows = layout.keys.spread(kv, channels)
        mixed = torch.empty_like(q_rows)
        lanes = draw_lanes(layout.shape) if p > 0 else None
        (queries,), (results,) = (layout.queries.cut(rows) for rows in (q_rows, mixed))
        saved, masks = [], []
        for samples, bias, query, result, key, value in zip(
            *(layout.groups, layout.biases, queries, results),
            *layout.keys.cut(kv_rows),
            strict=True,
        ):
            weights = torch.bmm(query, key.transpose(1, 2))  # (n·h, T, S)
            by_sample = weights.unflatten(0, (len(samples), -1))
            by_sample.add_(bias)
            weights.sub_(weights.amax(-1, keepdim=True)).exp_()
            weights.div_(weights.sum(-1, keepdim=True))
            saved.append(weights)
            if lanes is not None:
                steps, sources = weights.shape[1:]
                drawn = lanes[..., :steps, :sources].index_select(0, samples)
                masks.append(kept(drawn, p).flatten(0, 1))
                weights = weights * masks[-1]
            torch.bmm(weights, value, out=result)
        ctx.layout = layout
        ctx.save_for_backward(q_rows, kv_rows, *saved, *masks)
        return layout.queries.collect(mixed, q.shape[-1])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:  # noqa: ANN001
        layout = ctx.layout
        q_rows, kv_rows, *saved = ctx.saved_tensors
        grad_rows = layout.queries.spread(grad, q_rows.shape[-1])
        to_q, to_kv = torch.empty_like(q_rows), torch.empty_like(kv_rows)
        (queries,), (grads,), (to_queries,) = (
            layout.queries.cut(rows) for rows in (q_rows, grad_rows, to_q)
        )
        count = len(layout.groups)
        weights, masks = saved[:count], saved[count:] or [None] * count
        for own, keep, query, arriving, to_query, key, value, to_key, to_value in zip(
            *(weights, masks, queries, grads, to_queries),
            *(*layout.keys.cut(kv_rows), *layout.keys.cut(to_kv)),
            strict=True,
        ):
            used = own if keep is None else own * keep
            torch.bmm(used.transpose(1, 2), arriving, out=to_value)
            scores = torch.bmm(arriving, value.transpose(1, 2))
            if keep is not None:
                scores.mul_(keep)
            scores.mul_(own)  # softmax: w * (g - sum(w * g))
            scores.sub_(own * scores.sum(-1, keepdim=True))
            torch.bmm(scores, key, out=to_query)
            torch.bmm(scores.transpose(1, 2), query, out=to_key)
        to_q = layout.queries.collect(to_q, grad.shape[-1])
        return to_q, layout.keys.collect(to_kv, 2 * grad.shape[-1]), None, None
