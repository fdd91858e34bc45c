"""Self-MM (Yu et al., AAAI 2021): unimodal tasks whose labels are made in training.

Three unimodal tasks are learned beside the multimodal one. Nobody annotated their
labels: each is the multimodal label, moved by how much nearer the modality's feature
stands to the positive or the negative clips than the fused feature does. Steps are in
the paper's order: the two kinds of task, label generation, momentum, weighted loss.
Sizes and rates are those of the field's common benchmark code (dossier, Self-MM);
decisions are in ``ledger.toml``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from msa.data.contract import MODALITIES
from msa.models.base import Batch, Hyper, Model, Outputs, Shapes
from msa.models.layers import dropout, masked_mean

BRANCHES = ("fusion", *MODALITIES)
"""The multimodal task and the three unimodal ones."""

TINY = 1e-8
"""Added to divisors that can be 0."""


class SelfMMHyper(Hyper):
    """Self-MM's hyper-parameters; defaults for MOSI.

    ``lr`` and ``weight_decay`` are those of everything but the two LSTM sub-networks.
    """

    batch_size: int = 16
    lr: float = 1e-3
    lr_audio: float = 5e-3
    lr_vision: float = 5e-3
    lr_encoder: float = 5e-5
    weight_decay: float = 1e-3
    weight_decay_audio: float = 1e-3
    weight_decay_vision: float = 1e-3
    weight_decay_encoder: float = 1e-3
    clip_value: float | None = None
    plateau_patience: int | None = None
    early_stop: int = 8
    hidden_audio: int = 16
    hidden_vision: int = 32
    out_audio: int = 16
    out_vision: int = 32
    width_fusion: int = 128
    width_text: int = 32
    width_audio: int = 16
    width_vision: int = 32
    dropout_fusion: float = 0.0
    dropout_text: float = 0.1
    dropout_audio: float = 0.1
    dropout_vision: float = 0.0
    label_bound: float = 3.0


MOSEI = {
    "batch_size": 32,
    "lr_vision": 1e-4,
    "weight_decay": 1e-2,
    "weight_decay_audio": 0.0,
    "weight_decay_vision": 0.0,
    "dropout_fusion": 0.1,
    "dropout_text": 0.0,
    "dropout_audio": 0.0,
}
"""What differs on CMU-MOSEI (dossier, Self-MM)."""

SIMS = {
    "batch_size": 32,
    "weight_decay_audio": 1e-2,
    "weight_decay_vision": 1e-2,
    "hidden_vision": 64,
    "width_text": 64,
    "label_bound": 1.0,
}
"""What differs on CH-SIMS (dossier, Self-MM); its labels lie between -1 and 1."""


def relative_distance(features: Tensor, bank: Tensor, labels: Tensor) -> Tensor:
    """How much nearer a feature stands to the positive centre than to the negative.

    A centre is the mean of the remembered features whose label has its sign; a label
    of 0 belongs to neither. With distances d_p and d_n the value is
    (d_n - d_p) / d_p: 0 midway, growing towards the positive centre.

    Parameters
    ----------
    features : Tensor, shape (B, d)
    bank, labels : Tensor, shapes (N, d) and (N,)
        Features and labels of all training samples.

    Returns
    -------
    Tensor, shape (B,)
    """
    sides = torch.stack([labels > 0, labels < 0]).to(bank.dtype)  # (2, N)
    centres = sides @ bank / sides.sum(1, keepdim=True).clamp(min=1)  # (2, d)
    positive, negative = (features[:, None] - centres).norm(dim=-1).unbind(1)
    return (negative - positive) / (positive + TINY)


def generated_label(own: Tensor, fused: Tensor, label: Tensor, bound: float) -> Tensor:
    """Move a multimodal label by what sets a modality apart from the fusion.

    The mean of a ratio, (own / fused) · label, and a difference, label + own - fused.

    Parameters
    ----------
    own, fused : Tensor, shape (B,)
        :func:`relative_distance` of the modality and of the fusion.
    label : Tensor, shape (B,)
        Multimodal labels.
    bound : float
        Largest absolute label.
    """
    ratio = own / (fused + TINY) * label
    return ((ratio + label + own - fused) / 2).clamp(-bound, bound)


class LabelMemory:
    """Features and labels of every training sample, per branch.

    Parameters
    ----------
    labels : Tensor, shape (N,)
        Multimodal labels: where all unimodal ones begin.
    widths : dict of str to int
        Feature width of each branch.
    bound : float
        Largest absolute label.
    """

    def __init__(self, labels: Tensor, widths: dict[str, int], bound: float) -> None:
        self.bound = bound
        self.labels = {b: labels.clone() for b in BRANCHES}
        self.features = {b: labels.new_zeros(len(labels), widths[b]) for b in BRANCHES}

    def update(self, index: Tensor, features: dict[str, Tensor], epoch: int) -> None:
        """Relabel a batch from the centres so far, then remember its features.

        Labels move from epoch 2 on, when every sample has been seen. Momentum: in
        epoch n the label keeps (n - 1) / (n + 1) of itself.
        """
        if epoch > 1:
            shift = {
                b: relative_distance(features[b], self.features[b], self.labels[b])
                for b in BRANCHES
            }
            truth = self.labels["fusion"][index]
            for m in MODALITIES:
                new = generated_label(shift[m], shift["fusion"], truth, self.bound)
                labels = self.labels[m]
                labels[index] = torch.lerp(labels[index], new, 2 / (epoch + 1))
        for b in BRANCHES:
            self.features[b][index] = features[b]


class SequenceNetwork(nn.Module):
    """An LSTM's state after the last real step, mapped linearly.

    It reads forward only, so padding behind the last step never reaches that state.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, T, inputs) to (B, outputs)."""
        states, _ = self.lstm(x)  # (B, T, hidden)
        last = (mask.sum(1) - 1)[:, None, None].expand(-1, 1, states.shape[-1])
        return self.linear(states.gather(1, last)[:, 0])


class Branch(nn.Module):
    """A task: dropout, the feature that is remembered, a hidden layer, a score."""

    def __init__(self, inputs: int, width: int, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.feature = nn.Sequential(nn.Linear(inputs, width), nn.ReLU())
        self.score = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, inputs) to features (B, width) and scores (B,)."""
        feature = self.feature(dropout(x, self.drop, self.training))
        return feature, self.score(feature)[:, 0]


class SelfMM(Model):
    """Self-supervised multi-task multimodal network.

    Parameters
    ----------
    shapes : Shapes
        Padded length and width of every modality.
    hyper : SelfMMHyper
    """

    def __init__(self, shapes: Shapes, hyper: SelfMMHyper) -> None:
        super().__init__()
        self.label_bound = hyper.label_bound
        self.sequence = nn.ModuleDict(
            {
                m: SequenceNetwork(
                    shapes[m].width,
                    getattr(hyper, f"hidden_{m}"),
                    getattr(hyper, f"out_{m}"),
                )
                for m in ("audio", "vision")
            }
        )
        inputs = {
            "text": shapes["text"].width,
            "audio": hyper.out_audio,
            "vision": hyper.out_vision,
        }
        inputs["fusion"] = sum(inputs.values())
        self.widths = {b: getattr(hyper, f"width_{b}") for b in BRANCHES}
        self.branches = nn.ModuleDict(
            {
                b: Branch(inputs[b], self.widths[b], getattr(hyper, f"dropout_{b}"))
                for b in BRANCHES
            }
        )
        self.memory: LabelMemory | None = None
        self.loss_weights = {"task": 1.0, **{f"unimodal_{m}": 1.0 for m in MODALITIES}}

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """Return what each branch reads, (B, d_b): a vector per modality, and all."""
        x = {"text": masked_mean(batch.inputs["text"], batch.mask["text"])}
        for m, network in self.sequence.items():
            x[m] = network(batch.inputs[m], batch.mask[m])
        return {**x, "fusion": torch.cat([x[m] for m in MODALITIES], -1)}

    def forward(self, batch: Batch) -> Outputs:
        """Predict by the multimodal task."""
        _, prediction = self.branches["fusion"](self.vectors(batch)["fusion"])
        return Outputs(prediction)

    def begin_training(self, labels: Tensor) -> None:
        """Start all unimodal labels at the multimodal ones."""
        self.memory = LabelMemory(labels, self.widths, self.label_bound)

    def objective(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the four tasks, then bring the memory up to date.

        A unimodal error weighs tanh |y_m - y_M|: a task counts where its label has
        moved away from the multimodal one.
        """
        if self.memory is None:
            raise RuntimeError("Self-MM has no labels yet: call begin_training first")
        x = self.vectors(batch)
        out = {b: self.branches[b](x[b]) for b in BRANCHES}
        terms = {"task": self.task_loss(out["fusion"][1], batch.labels)}
        for m in MODALITIES:
            label = self.memory.labels[m][batch.index]
            weight = (label - batch.labels).abs().tanh()
            terms[f"unimodal_{m}"] = (weight * (out[m][1] - label).abs()).mean()
        total = torch.stack([self.loss_weights[k] * v for k, v in terms.items()]).sum()
        features = {b: feature.detach() for b, (feature, _) in out.items()}
        self.memory.update(batch.index, features, epoch)
        return total, terms

    def parameter_groups(self, hyper: SelfMMHyper) -> list[dict]:
        """Return the audio LSTM's group, the vision LSTM's, and the rest's."""
        return [
            {"params": list(part.parameters()), "lr": lr, "weight_decay": decay}
            for part, lr, decay in (
                (self.sequence["audio"], hyper.lr_audio, hyper.weight_decay_audio),
                (self.sequence["vision"], hyper.lr_vision, hyper.weight_decay_vision),
                (self.branches, hyper.lr, hyper.weight_decay),
            )
        ]
