"""A model together with a text encoder that is trained with it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from msa.models.base import Batch, Hyper, Model, Objective, Outputs, Stage


class FineTuned(Model):
    """Encode the text of each batch, then run a model on it.

    The complete text is encoded without a gradient: it is the target of the
    reconstruction, and a target that the loss could move would let the loss be met by
    moving it. The encoder runs once where nothing is missing, because the damaged and
    the complete text are then the same, and where the model uses no targets.

    Parameters
    ----------
    encoder : nn.Module
        Maps ids (B, L) and mask (B, L) to features (B, L, d), 0 at padding.
    model : Model
    """

    def __init__(self, encoder: nn.Module, model: Model) -> None:
        super().__init__()
        self.encoder, self.model = encoder, model
        self.trims_padding, self.uses_targets = model.trims_padding, model.uses_targets

    def encoded(self, batch: Batch) -> Batch:
        """Return the batch with its text features filled in."""
        text = self._features(batch, "damaged")
        targets = dict(batch.targets)
        if self.uses_targets and batch.damaged:
            with torch.no_grad():
                targets["text"] = self._features(batch, "complete")
        elif self.uses_targets:
            targets["text"] = text.detach()
        return replace(batch, inputs={**batch.inputs, "text": text}, targets=targets)

    def _features(self, batch: Batch, state: str) -> Tensor:
        return self.encoder(batch.token_ids[state], batch.mask["text"])

    def forward(self, batch: Batch) -> Outputs:
        """Predict from token ids."""
        return self.model(self.encoded(batch))

    def objective(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the model's own objective on the encoded batch."""
        return self.model.objective(self.encoded(batch), epoch)

    def checked(self, outputs: Outputs, batch: Batch) -> Outputs:
        """Return outputs if they fit the model, whose name an error then gives."""
        return self.model.checked(outputs, batch)

    def task_loss(self, prediction: Tensor, labels: Tensor) -> Tensor:
        """Return the model's own task loss."""
        return self.model.task_loss(prediction, labels)

    def weights(self, epoch: int) -> dict[str, float]:
        """Return the model's own loss weights."""
        return self.model.weights(epoch)

    def begin_training(self, labels: Tensor) -> None:
        """Hand the labels to the model."""
        self.model.begin_training(labels)

    def stages(self, hyper: Hyper) -> tuple[Stage, ...]:
        """Return the model's stages; the last one trains the encoder too."""
        *early, last = self.model.stages(hyper)
        return (
            *(
                replace(stage, objective=self._on_encoded(stage.objective, False))
                for stage in early
            ),
            replace(
                last,
                objective=self._on_encoded(last.objective, True),
                groups=[*last.groups, *self.encoder_groups(hyper)],
            ),
        )

    def _on_encoded(self, objective: Objective, train_encoder: bool) -> Objective:
        def on_encoded(batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
            with torch.set_grad_enabled(train_encoder):
                encoded = self.encoded(batch)
            return objective(encoded, epoch)

        return on_encoded

    def parameter_groups(self, hyper: Hyper) -> list[dict]:
        """Return the model's groups and the encoder's two."""
        return [*self.model.parameter_groups(hyper), *self.encoder_groups(hyper)]

    def encoder_groups(self, hyper: Hyper) -> list[dict]:
        """Return the encoder's groups: biases and layer norms have no weight decay."""
        named = list(self.encoder.named_parameters())
        plain = [p for n, p in named if n.endswith("bias") or "LayerNorm" in n]
        plain_ids = {id(p) for p in plain}
        decayed = [p for _, p in named if id(p) not in plain_ids]
        return [
            {
                "params": decayed,
                "lr": hyper.lr_encoder,
                "weight_decay": hyper.weight_decay_encoder,
            },
            {"params": plain, "lr": hyper.lr_encoder, "weight_decay": 0.0},
        ]
