"""A model together with a text encoder that is trained with it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from msa.models.base import Batch, Hyper, Model, Outputs


class FineTuned(Model):
    """Encode the text of each batch, then run a model on it.

    The complete text is encoded without a gradient: it is the target of the
    reconstruction, and a target that the loss could move would let the loss be met by
    moving it. Where nothing is missing the damaged and the complete text are the same,
    and the encoder runs once.

    Parameters
    ----------
    encoder : nn.Module
        Maps ids (B, L) and mask (B, L) to features (B, L, d).
    model : Model
    """

    def __init__(self, encoder: nn.Module, model: Model) -> None:
        super().__init__()
        self.encoder, self.model = encoder, model
        self.trims_padding = model.trims_padding

    def encoded(self, batch: Batch) -> Batch:
        """Return the batch with its text features filled in."""
        mask = batch.mask["text"]
        text = self.encoder(batch.token_ids["damaged"], mask)
        if batch.damaged:
            with torch.no_grad():
                target = self.encoder(batch.token_ids["complete"], mask)
        else:
            target = text.detach()
        return replace(
            batch,
            inputs={**batch.inputs, "text": text},
            targets={**batch.targets, "text": target},
        )

    def forward(self, batch: Batch) -> Outputs:
        """Predict from token ids."""
        return self.model(self.encoded(batch))

    def objective(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the model's own objective on the encoded batch."""
        return self.model.objective(self.encoded(batch), epoch)

    def parameter_groups(self, hyper: Hyper) -> list[dict]:
        """Return the model's groups and the encoder's two.

        Biases and layer norms of the encoder have no weight decay.
        """
        named = list(self.encoder.named_parameters())
        plain = [p for n, p in named if n.endswith("bias") or "LayerNorm" in n]
        plain_ids = {id(p) for p in plain}
        decayed = [p for _, p in named if id(p) not in plain_ids]
        return [
            *self.model.parameter_groups(hyper),
            {
                "params": decayed,
                "lr": hyper.lr_encoder,
                "weight_decay": hyper.weight_decay_encoder,
            },
            {"params": plain, "lr": hyper.lr_encoder, "weight_decay": 0.0},
        ]
