"""What the benchmark feeds the models: real clips, or random tensors of known lengths.

Two kinds of shape, for every data set: ``clip-context`` is what this study's features
look like (short sequences), ``papers`` is what the papers' features look like (hundreds
of audio and vision steps, a BERT of width 768).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from msa.data.contract import MODALITIES, padding_mask
from msa.data.load import MissingData, load
from msa.data.registry import default_view, source
from msa.data.text import TextEncoder, default_encoder, encoder_config
from msa.models.base import Shape, Shapes
from msa.study.results import load_passport
from msa.train.batches import DeviceSplit, prepare, shapes_of

PAPER_SHAPES: dict[str, Shapes] = {
    dataset: {
        m: Shape(*shape)
        for m, shape in zip(MODALITIES, (text, audio, vision), strict=True)
    }
    for dataset, text, audio, vision in (
        ("mosi", (50, 768), (375, 5), (500, 20)),
        ("mosei", (50, 768), (500, 74), (500, 35)),
        ("sims", (39, 768), (400, 33), (55, 709)),
    )
}
"""Padded lengths and widths of the papers' features (unaligned files, BERT base)."""

MISSING_RATE = 0.5
"""Damage while measuring, so that the reconstruction branches have work to do."""

SEED = 1111
"""Of random tensors, initialisation and data order: time does not depend on it."""

_TOKENS = (1000, 20000)
"""Range of random token ids: ordinary words in every vocabulary used here."""


@dataclass(frozen=True)
class Workload:
    """Data of one measurement.

    Attributes
    ----------
    content : str
        What it is, in words.
    encoder : str
        Text encoder.
    shapes : Shapes
    train, valid : DeviceSplit
        What is measured on.
    whole : dict of str to int
        Rows of a whole epoch, keyed ``"train"`` and ``"valid"``.
    """

    content: str
    encoder: str
    shapes: Shapes
    train: DeviceSplit
    valid: DeviceSplit
    whole: dict[str, int]


def random_split(
    name: str,
    lengths: dict[str, Tensor],
    shapes: Shapes,
    *,
    with_tokens: bool = False,
    device: str | torch.device = "cpu",
    missing_rate: float = MISSING_RATE,
) -> DeviceSplit:
    """Make a damaged split of random values.

    Parameters
    ----------
    name : str
    lengths : dict of str to Tensor of int64, shape (N,)
        Real steps of each sequence, keyed by modality.
    shapes : Shapes
    with_tokens : bool
        Whether the text arrives as random token ids, for an encoder that is
        fine-tuned, instead of random features.
    device : str or torch.device
    missing_rate : float
    """
    draw = torch.Generator().manual_seed(SEED)
    mask = {m: padding_mask(lengths[m], shapes[m].steps) for m in MODALITIES}
    missing = {
        m: (torch.rand(real.shape, generator=draw) < missing_rate) & real
        for m, real in mask.items()
    }
    complete = {
        m: torch.randn(*mask[m].shape, shapes[m].width, generator=draw)
        * mask[m][..., None]
        for m in MODALITIES
        if not (with_tokens and m == "text")
    }
    damaged = {
        m: x.masked_fill(missing[m][..., None], 0.0) for m, x in complete.items()
    }
    ids = {}
    if with_tokens:
        words = torch.randint(*_TOKENS, mask["text"].shape, generator=draw)
        words = words * mask["text"]
        unknown = words.masked_fill(missing["text"], _TOKENS[0])
        ids = {"damaged": unknown, "complete": words}
    labels = torch.rand(len(lengths["text"]), generator=draw) * 6 - 3
    return DeviceSplit(
        name, damaged, complete, mask, missing, labels, {}, ids, device=device
    )


def choose(split: DeviceSplit, count: int) -> DeviceSplit:
    """Return some rows of a split, drawn at random; all if it has no more."""
    if count >= len(split):
        return split
    draw = torch.Generator().manual_seed(SEED)
    rows = torch.randperm(len(split), generator=draw)[:count].to(split.device)

    def of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: x[rows.to(x.device)] for key, x in tensors.items()}

    return DeviceSplit(
        split.name,
        of(split.inputs),
        of(split.targets),
        {m: x.cpu() for m, x in of(split.mask).items()},
        of(split.missing),
        split.labels[rows],
        of(split.modality_labels),
        of(split.token_ids),
        split.device,
    )


def clip_context_shapes(dataset: str) -> Shapes:
    """Return the shapes of a data set's clip-context view, from its data passport.

    Raises
    ------
    MissingData
        If no passport is published.
    """
    table = _passport(dataset)["shapes"].set_index("modality")
    encoder = default_encoder(source(dataset).language)
    width = {"text": encoder_config(encoder)["hidden_size"]}
    width |= {m: int(table.at[m, "width"]) for m in ("audio", "vision")}
    return {m: Shape(int(table.at[m, "steps"]), width[m]) for m in MODALITIES}


def mean_lengths(dataset: str) -> dict[str, int]:
    """Return the mean real length of the training sequences, rounded, by modality."""
    table = _passport(dataset)["lengths"]
    train = table[table["split"] == "train"].set_index("modality")["mean"]
    return {m: round(train[m]) for m in MODALITIES}


def workload(
    dataset: str,
    kind: str,
    encoder_mode: str,
    rows: int,
    device: str = "cpu",
    *,
    missing_rate: float = MISSING_RATE,
) -> Workload:
    """Return what to measure on.

    Parameters
    ----------
    dataset : str
    kind : {"clip-context", "papers"}
        The first takes the real data where it is there, else random tensors with its
        lengths; the second takes random tensors of full length.
    encoder_mode : {"frozen", "finetune"}
    rows : int
        Rows to draw at most, for each split of random full-length tensors.
    device : str
    missing_rate : float
    """
    damage = {"device": device, "missing_rate": missing_rate}
    if kind == "papers":
        return _of_full_length(dataset, encoder_mode, rows, **damage)
    return of_view(dataset, default_view(dataset), encoder_mode, rows, **damage)


def of_view(
    dataset: str,
    view: str,
    encoder_mode: str,
    rows: int,
    device: str = "cpu",
    *,
    missing_rate: float = MISSING_RATE,
) -> Workload:
    """Return what to measure on in a feature view.

    Parameters
    ----------
    dataset, view : str
        The real data where they are there; else random tensors, of the lengths of the
        default view, or of the shapes of the papers' unaligned features.
    encoder_mode : {"frozen", "finetune"}
    rows : int
        Rows to draw at most of the latter.
    device : str
    missing_rate : float

    Raises
    ------
    MissingData
        If nothing can stand for data that are not there.
    """
    damage = {"device": device, "missing_rate": missing_rate}
    try:
        return _real(dataset, encoder_mode, view=view, **damage)
    except MissingData:
        if view == default_view(dataset):
            return _of_real_lengths(dataset, encoder_mode, **damage)
        if view == "unaligned":
            return _of_full_length(dataset, encoder_mode, rows, **damage)
        raise


def text_encoder(work: Workload) -> nn.Module:
    """Return the text encoder to fine-tune: pretrained, or a random BERT base."""
    if work.encoder != RANDOM_BERT:
        return TextEncoder(work.encoder)
    return RandomBert()


RANDOM_BERT = "BERT base, random weights"
"""Stands for the papers' encoder: time does not depend on the weights."""


class RandomBert(nn.Module):
    """A BERT of base size (12 layers, 768-d) with random weights."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        self.bert = BertModel(BertConfig(), add_pooling_layer=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode ids (B, L) into hidden states (B, L, 768), 0 at padding."""
        hidden = self.bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return hidden * mask[..., None]


def _real(
    dataset: str,
    encoder_mode: str,
    device: str,
    missing_rate: float,
    view: str,
) -> Workload:
    data = load(dataset, view)
    encoder = default_encoder(data.source.language)
    splits = prepare(
        data,
        encoder=encoder,
        encoder_mode=encoder_mode,
        missing_rate=missing_rate,
        device=device,
    )
    return Workload(
        f"{data.source.title}, {data.source.view}",
        encoder,
        shapes_of(data, encoder),
        splits["train"],
        splits["valid"],
        {name: len(splits[name]) for name in ("train", "valid")},
    )


def _of_real_lengths(
    dataset: str, encoder_mode: str, device: str, missing_rate: float
) -> Workload:
    found = source(dataset)
    histogram = _passport(dataset)["length_histogram"]
    shapes = clip_context_shapes(dataset)
    splits = {
        name: random_split(
            name,
            {m: _lengths(histogram, name, m) for m in MODALITIES},
            shapes,
            with_tokens=encoder_mode == "finetune",
            device=device,
            missing_rate=missing_rate,
        )
        for name in ("train", "valid")
    }
    return Workload(
        f"random tensors with the lengths of {found.title}, {found.view}",
        default_encoder(found.language),
        shapes,
        **splits,
        whole={name: len(split) for name, split in splits.items()},
    )


def _lengths(histogram: pd.DataFrame, split: str, modality: str) -> Tensor:
    own = histogram[(histogram["split"] == split) & (histogram["modality"] == modality)]
    middle = ((own["low"] + own["high"]) / 2).round().astype(int)
    drawn = np.random.default_rng(SEED).permutation(np.repeat(middle, own["clips"]))
    return torch.from_numpy(drawn).long()


def _of_full_length(
    dataset: str, encoder_mode: str, rows: int, device: str, missing_rate: float
) -> Workload:
    if dataset not in PAPER_SHAPES:
        raise MissingData(
            f"the papers have no features of {dataset!r}; they have "
            f"{', '.join(PAPER_SHAPES)}"
        )
    shapes = PAPER_SHAPES[dataset]
    clips = _passport(dataset)["splits"].set_index("split")["clips"]
    whole = {name: int(clips[name]) for name in ("train", "valid")}
    tokens = encoder_mode == "finetune"
    splits = {
        name: random_split(
            name,
            {m: torch.full((min(rows, n),), shapes[m].steps) for m in MODALITIES},
            shapes,
            with_tokens=tokens,
            device=device,
            missing_rate=missing_rate,
        )
        for name, n in whole.items()
    }
    return Workload(
        "random tensors, every sequence of full length",
        RANDOM_BERT,
        shapes,
        **splits,
        whole=whole,
    )


def _passport(dataset: str) -> dict[str, pd.DataFrame]:
    view = default_view(dataset)
    tables = load_passport(dataset, view)
    if not tables:
        raise MissingData(
            f"neither {dataset!r} ({view}) nor its data passport is here: run "
            f"`python -m msa data check {dataset} --write` where the data is"
        )
    return tables
