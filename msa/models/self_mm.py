"""Self-MM (Yu et al., AAAI 2021): unimodal tasks whose labels are made in training.

Three unimodal tasks are learned beside the multimodal one. Nobody annotated their
labels: each is the multimodal label, moved by how much nearer the modality's feature
stands to the positive or the negative clips than the fused feature does. The tasks and
the weighted loss are here, label generation and momentum in ``label_memory.py``. Sizes
and rates are those of the field's common benchmark code (dossier, Self-MM); decisions
are in ``ledger.toml``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from msa.data.contract import MODALITIES
from msa.models.base import Batch, Hyper, Model, Outputs, Shapes
from msa.models.label_memory import BRANCHES, LabelMemory
from msa.models.layers import dropout, sentence_vector
from msa.models.recurrent import LastState


class SelfMMHyper(Hyper):
    """Self-MM's hyper-parameters; those published for MOSI.

    ``lr`` and ``weight_decay`` are those of everything but the two LSTM sub-networks;
    ``pooled_text`` reads the mean of the tokens instead of [CLS].
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
    pooled_text: bool = False


MOSI = {"pooled_text": True}
"""What differs on CMU-MOSI, and on the demo set: chosen on the validation split."""

MOSEI = {
    "pooled_text": True,
    "batch_size": 32,
    "lr_vision": 1e-4,
    "weight_decay": 1e-2,
    "weight_decay_audio": 0.0,
    "weight_decay_vision": 0.0,
    "dropout_fusion": 0.1,
    "dropout_text": 0.0,
    "dropout_audio": 0.0,
}
"""What differs on CMU-MOSEI (dossier, Self-MM); the text vector as on CMU-MOSI."""

SIMS = {
    "pooled_text": True,
    "batch_size": 32,
    "weight_decay_audio": 1e-2,
    "weight_decay_vision": 1e-2,
    "hidden_vision": 64,
    "width_text": 64,
    "label_bound": 1.0,
}
"""What differs on CH-SIMS (dossier, Self-MM); the text vector as on CMU-MOSI.

Its labels lie between -1 and 1."""


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
        self.label_bound, self.pooled_text = hyper.label_bound, hyper.pooled_text
        self.sequence = nn.ModuleDict(
            {
                m: LastState(
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
        text, mask = batch.inputs["text"], batch.mask["text"]
        x = {"text": sentence_vector(text, mask, self.pooled_text)}
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
