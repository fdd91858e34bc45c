"""The in-memory contract of a data set: what every loader returns and trains on.

Shapes: ``N`` clips, ``T`` steps of one modality, ``d`` features of one step.
Padding is on the right; ``lengths`` tells the number of real steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

MODALITIES = ("text", "audio", "vision")
"""The three modalities, in the order that every table and every seed tuple uses."""

SPLITS = ("train", "valid", "test")

CLIP_SIGN = "$_$"
"""What stands between video and clip in an id."""


def padding_mask(lengths: Tensor, steps: int) -> Tensor:
    """Mark the real steps of right-padded sequences.

    Parameters
    ----------
    lengths : Tensor of int, shape (N,)
        Number of real steps of each sequence.
    steps : int
        Padded length ``T``.

    Returns
    -------
    Tensor of bool, shape (N, T)
        True at real steps, False at padding.
    """
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def video_of(clip: str) -> str:
    """Return the video that a clip id ``"<video>$_$<clip>"`` belongs to."""
    return clip.split(CLIP_SIGN)[0]


@dataclass(frozen=True)
class Split:
    """One split of a data set, complete (nothing missing), on the CPU.

    Attributes
    ----------
    name : str
        ``"train"``, ``"valid"`` or ``"test"``.
    ids : tuple of str, length N
        ``"<video>$_$<clip>"``, unique over the data set.
    raw_text : tuple of str, length N
        The spoken sentence.
    token_ids : Tensor of int64, shape (N, L)
        Vocabulary ids of the file's own encoder; 0 at padding.
    token_mask : Tensor of bool, shape (N, L)
        True at real tokens, the opening [CLS] and the closing [SEP] included.
    audio, vision : Tensor of float32, shape (N, T, d)
        Feature sequences; exactly 0 at padding.
    audio_lengths, vision_lengths : Tensor of int64, shape (N,)
        Real steps, 1 to T.
    labels : Tensor of float32, shape (N,)
        Sentiment score of the whole clip.
    modality_labels : dict of str to Tensor of float32, shape (N,)
        Scores annotated from one modality alone (CH-SIMS), keyed by modality;
        empty where the data set has none.
    """

    name: str
    ids: tuple[str, ...]
    raw_text: tuple[str, ...]
    token_ids: Tensor
    token_mask: Tensor
    audio: Tensor
    audio_lengths: Tensor
    vision: Tensor
    vision_lengths: Tensor
    labels: Tensor
    modality_labels: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def videos(self) -> tuple[str, ...]:
        """The video of every clip, length N."""
        return tuple(map(video_of, self.ids))

    def padding_masks(self) -> dict[str, Tensor]:
        """Return the real steps of each modality.

        Returns
        -------
        dict of str to Tensor of bool, shape (N, T)
            Keyed by modality; True at real steps.
        """
        return {
            "text": self.token_mask,
            "audio": padding_mask(self.audio_lengths, self.audio.shape[1]),
            "vision": padding_mask(self.vision_lengths, self.vision.shape[1]),
        }
