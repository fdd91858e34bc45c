"""MMIM (Han et al., EMNLP 2021): hierarchical mutual information maximisation.

Two levels of mutual information are raised beside the task: between text and each other
modality, by a lower bound I(X; Y) >= E[log q(y|x)] + H(Y), and between the fused vector
and each modality, by contrastive predictive coding; ``information.py`` has the
estimators. An epoch has two stages: the first fits q(y|x) to the present vectors, the
second trains everything else. Sizes and rates are those of the field's common benchmark
code (dossier, MMIM); decisions are in ``ledger.toml``.
"""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor, nn

from msa.data.contract import MODALITIES
from msa.models.base import Batch, Hyper, Model, Outputs, Shapes, Stage
from msa.models.information import Bound, Contrast, signed_entropy
from msa.models.layers import dropout, sentence_vector
from msa.models.recurrent import BiRNN, final_states
from msa.models.steps import Steps

SEQUENCES = ("audio", "vision")
"""Modalities that an LSTM condenses, and whose information with the text is raised."""


class MMIMHyper(Hyper):
    """MMIM's hyper-parameters; the published ones, the same for all data sets.

    ``lr_bound`` and ``weight_decay_bound`` are those of q(y|x), ``bound_share`` the
    share of the training rows that it is fitted to in each epoch, ``memory`` the number
    of past batches whose vectors enter the entropy; ``pooled_text`` reads the mean of
    the tokens instead of [CLS].
    """

    batch_size: int = 32
    lr: float = 1e-3
    lr_bound: float = 1e-3
    lr_encoder: float = 5e-5
    weight_decay: float = 1e-4
    weight_decay_bound: float = 1e-4
    weight_decay_encoder: float = 1e-4
    clip_value: float | None = None
    clip_norm: float | None = 1.0
    plateau_patience: int | None = 20
    plateau_factor: float = 0.5
    early_stop: int = 8
    hidden: int = 16
    out: int = 16
    fusion_width: int = 128
    drop: float = 0.1
    weight_contrast: float = 0.1
    weight_information: float = 0.1
    bound_share: float = 1.0
    memory: int = 1
    pooled_text: bool = False


MOSI = {"pooled_text": True}
"""The text vector that suits a frozen sentence encoder, whatever the data set."""

TUNED_MOSI = {"lr": 5e-4}
"""Chosen on the validation split of CMU-MOSI, clip-context (study mosi-tuning)."""

MOSEI = {"bound_share": 0.5, "pooled_text": True}
"""What differs on CMU-MOSEI (dossier, MMIM); the text vector as on CMU-MOSI."""

SIMS = {"pooled_text": True}
"""What differs on CH-SIMS: the text vector as on CMU-MOSI."""


class SequenceNetwork(nn.Module):
    """A BiLSTM's final states, dropped out and mapped linearly."""

    def __init__(self, inputs: int, hidden: int, outputs: int, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.lstm = BiRNN("lstm", inputs, hidden)
        self.linear = nn.Linear(2 * hidden, outputs)

    def forward(self, x: Tensor, steps: Steps) -> Tensor:
        """Map packed (P, inputs) to (B, outputs)."""
        ends = final_states(self.lstm(x, steps), steps)  # (B, 2·hidden)
        return self.linear(dropout(ends, self.drop, self.training))


class MMIM(Model):
    """Multimodal InfoMax.

    Parameters
    ----------
    shapes : Shapes
        Padded length and width of every modality.
    hyper : MMIMHyper
    """

    def __init__(self, shapes: Shapes, hyper: MMIMHyper) -> None:
        super().__init__()
        text, d, f = shapes["text"].width, hyper.out, hyper.fusion_width
        self.drop, self.pooled_text = hyper.drop, hyper.pooled_text
        self.sequence = nn.ModuleDict(
            {
                m: SequenceNetwork(shapes[m].width, hyper.hidden, d, hyper.drop)
                for m in SEQUENCES
            }
        )
        self.fuse = nn.Sequential(
            nn.Linear(text + 2 * d, f), nn.Tanh(), nn.Linear(f, f), nn.Tanh()
        )
        self.predict = nn.Linear(f, 1)
        self.contrast = nn.ModuleDict(
            {m: Contrast(f, text if m == "text" else d) for m in MODALITIES}
        )
        self.bounds = nn.ModuleDict({m: Bound(text, d) for m in SEQUENCES})
        weights = [p for name, p in self.named_parameters() if "weight" in name]
        for stack in weights:
            for matrix in stack.view(-1, *stack.shape[-2:]):
                nn.init.xavier_normal_(matrix)
        self.memory: deque[tuple[Tensor, Tensor]] = deque(maxlen=hyper.memory)
        self.loss_weights = {
            "task": 1.0,
            "contrast": hyper.weight_contrast,
            "likelihood": -hyper.weight_information,
            "entropy": -hyper.weight_information,
        }

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """Return one vector per modality, (B, d_m)."""
        text, mask = batch.inputs["text"], batch.mask["text"]
        x = {"text": sentence_vector(text, mask, self.pooled_text)}
        for m, network in self.sequence.items():
            x[m] = network(batch.steps[m].pack(batch.inputs[m]), batch.steps[m])
        return x

    def fused(self, x: dict[str, Tensor]) -> Tensor:
        """Fuse the modalities' vectors, (B, f)."""
        together = torch.cat([x[m] for m in MODALITIES], -1)
        return self.fuse(dropout(together, self.drop, self.training))

    def forward(self, batch: Batch) -> Outputs:
        """Predict scores."""
        return Outputs(self.predict(self.fused(self.vectors(batch)))[:, 0])

    def begin_training(self, labels: Tensor) -> None:
        """Forget the vectors of an earlier run."""
        self.memory.clear()

    def likelihood(self, x: dict[str, Tensor]) -> Tensor:
        """Sum over modalities of E[log q(y|x)], a scalar; x is the text."""
        return torch.stack([q(x["text"], x[m]) for m, q in self.bounds.items()]).sum()

    def entropy(self, x: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Sum over modalities of H(Y), a scalar; 0 until the memory is full.

        Estimated on this batch and the remembered ones. Those are constants, though in
        truth they move with the present vectors, so the gradient is scaled up by the
        number of batches.
        """
        y = torch.stack([x[m] for m in SEQUENCES])  # (2, B, d)
        seen = [*self.memory, (y, labels)]
        full = len(self.memory) == self.memory.maxlen
        self.memory.append((y.detach(), labels))
        if not full:
            return y.new_zeros(())
        ys, all_labels = zip(*seen, strict=True)
        entropy = signed_entropy(torch.cat(ys, 1), torch.cat(all_labels)).sum()
        return entropy.detach() + len(seen) * (entropy - entropy.detach())

    def objective(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return task + alpha · contrast - beta · (likelihood + entropy)."""
        x = self.vectors(batch)
        z = self.fused(x)
        found = [self.contrast[m](z, x[m]) for m in MODALITIES]
        terms = {
            "task": self.task_loss(self.predict(z)[:, 0], batch.labels),
            "contrast": torch.stack(found).sum(),
            "likelihood": self.likelihood(x),
            "entropy": self.entropy(x, batch.labels),
        }
        total = torch.stack([self.loss_weights[k] * v for k, v in terms.items()]).sum()
        return total, terms

    def fit_bound(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the negative likelihood of the present vectors: the first stage."""
        with torch.no_grad():
            x = self.vectors(batch)
        likelihood = self.likelihood(x)
        return -likelihood, {"likelihood": likelihood}

    def parameter_groups(self, hyper: MMIMHyper) -> list[dict]:
        """Return the group of the second stage: all but q(y|x)."""
        fitted = {id(p) for p in self.bounds.parameters()}
        rest = [p for p in self.parameters() if id(p) not in fitted]
        return [{"params": rest, "lr": hyper.lr, "weight_decay": hyper.weight_decay}]

    def stages(self, hyper: MMIMHyper) -> tuple[Stage, ...]:
        """Fit q(y|x), then train everything else."""
        bound = {
            "params": list(self.bounds.parameters()),
            "lr": hyper.lr_bound,
            "weight_decay": hyper.weight_decay_bound,
        }
        return (
            Stage("bound", self.fit_bound, [bound], hyper.bound_share),
            *super().stages(hyper),
        )
