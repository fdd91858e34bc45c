"""The embedded demo set: synthetic clips whose ground truth is known.

**Nothing here was recorded.** Every sentence, every audio and vision value and every
label comes from a seeded generator, so that the whole study runs without any data
set, and so that tests and teaching pages can compare a model with the truth. A number
computed on this set says nothing about real speakers.

How a clip is made (scores in label units, -3 very negative to 3 very positive):

1. A *trajectory* of ``MOMENTS`` values, the sentiment that all modalities share: a
   normal clip level (``LEVEL_SD``) plus a slow autoregressive drift (``DRIFT_SD``).
2. A *private* part per modality (``PRIVATE_SD``), which that modality alone shows.
   The score is the mean of the trajectory plus the three private parts; the label is
   the score rounded to 0.2, as a mean of five raters would be, and clipped to [-3, 3].
   So no modality alone can explain the label, and fusion pays.
3. The sentence has one to three clauses. The clip is cut into as many equal pieces,
   and a clause states the mean of its piece plus the private part of text, rounded to
   a whole level. See :data:`WAYS` for how words make a level.
4. Audio and vision are read by a :class:`Sensor`: few informative channels, copies of
   them, and channels of pure noise. How long they are tells nothing of the label.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from msa.data.contract import MODALITIES, SPLITS, Split, padding_mask
from msa.data.text import encoder_folder

DEMO_SEED = 0
"""Seed of the published demo set."""

DEMO_SIZES = (400, 100, 150)
"""Clips in train, valid and test."""

TEXT_STEPS = 32
"""Padded tokens ``L``; the grammar makes at most 31, with [CLS] and [SEP]."""

MOMENTS = 30
"""Values of a clip's latent trajectory, equally spaced over its duration."""

LEVEL_SD, DRIFT_SD = 0.8, 0.5
PRIVATE_SD = {"text": 1.2, "audio": 0.6, "vision": 0.6}
"""Standard deviations of the parts of the score, in label units."""

PERSISTENCE = 0.6
"""Correlation of neighbouring moments of a drift, or neighbouring steps of a noise."""

EXTRA_STEPS = 6
"""A clip has up to this many steps of audio, and of vision, beyond its clauses'."""


@dataclass(frozen=True)
class Sensor:
    """The channels of audio or vision: first informative, then redundant, then noise.

    Every channel has variance ``signal_sd**2 + noise_sd**2``; all noise is
    autoregressive (``PERSISTENCE``).

    Attributes
    ----------
    steps : int
        Padded length ``T``.
    steps_per_clause : int
        A clip of ``k`` clauses has ``k * steps_per_clause`` real steps and up to
        ``EXTRA_STEPS`` more.
    informative, redundant, noise : int
        Number of channels of each kind; ``d`` is their sum. Informative channel ``c``
        reads the trajectory plus the private part, with noise, its sign turned round
        where ``c`` is odd. Redundant channel ``i`` of its kind copies informative
        channel ``i % informative``. The rest knows nothing of the clip.
    signal_sd, noise_sd : float
        Standard deviation of signal and noise at one step of an informative channel.
    copy_corr : float
        Correlation of a redundant channel with its source over real steps.
    """

    steps: int
    steps_per_clause: int
    informative: int
    redundant: int
    noise: int
    signal_sd: float
    noise_sd: float
    copy_corr: float = 0.9

    @property
    def kinds(self) -> tuple[str, ...]:
        """``"informative"``, ``"redundant"`` or ``"noise"`` of every channel."""
        counts = (self.informative, self.redundant, self.noise)
        names = ("informative", "redundant", "noise")
        return tuple(np.repeat(names, counts).tolist())

    @property
    def sources(self) -> dict[int, int]:
        """Channel that each redundant channel copies."""
        first, count = self.informative, self.redundant
        return {first + i: i % first for i in range(count)}


def _signal_sd(modality: str) -> float:
    return float(np.sqrt(LEVEL_SD**2 + DRIFT_SD**2 + PRIVATE_SD[modality] ** 2))


SENSORS = {
    "audio": Sensor(24, 6, 3, 4, 5, _signal_sd("audio"), noise_sd=4.5),
    "vision": Sensor(30, 8, 4, 6, 6, _signal_sd("vision"), noise_sd=2.2),
}
"""Vision is denser in information than audio: more informative channels, less noise."""

ADJECTIVES = {
    2: ("wonderful", "brilliant", "fantastic", "amazing"),
    1: ("good", "nice", "pleasant", "solid"),
    0: ("average", "ordinary", "typical", "standard"),
    -1: ("dull", "weak", "bland", "poor"),
    -2: ("terrible", "awful", "horrible", "dreadful"),
}
VERBS = {
    2: ("love", "adore"),
    1: ("like", "enjoy"),
    0: ("notice", "remember"),
    -1: ("dislike", "resent"),
    -2: ("hate", "despise"),
}
MODIFIERS = {
    "plain": ("",),
    "intensifier": ("really ", "truly ", "absolutely "),
    "hedge": ("kind of ", "sort of ", "somewhat "),
}
WAYS = {
    3: (("intensifier", 2),),
    2: (("plain", 2), ("intensifier", 1)),
    1: (("plain", 1), ("hedge", 2), ("negation", -1)),
    0: (("plain", 0),),
}
"""How a clause of a level may be worded: modifier, value of its adjective or verb.

An intensifier moves a word one level away from 0, a hedge one level towards 0, and a
negation turns a mild word round. Negative levels mirror the table.
"""

TOPICS = {
    "film": ("plot", "acting", "soundtrack", "ending", "dialogue"),
    "phone": ("screen", "battery", "camera", "speaker", "software"),
    "restaurant": ("food", "service", "menu", "dessert", "music"),
    "hotel": ("room", "bed", "breakfast", "pool", "view"),
    "book": ("story", "style", "cover", "opening", "language"),
}
FILLERS = ("", "", "", "um, ", "well, ", "so, ", "honestly, ", "you know, ")
LINKS = ("was", "felt", "seemed")


@dataclass(frozen=True)
class SplitTruth:
    """What the generator knew of each clip of a split.

    Attributes
    ----------
    trajectory : ndarray of float64, shape (N, MOMENTS)
        Shared sentiment over the clip's duration.
    private : dict of str to ndarray of float64, shape (N,)
        Part of the score that one modality alone shows, keyed by modality.
    levels : tuple of tuple of int, length N
        Level, -3 to 3, of each clause of the sentence.
    """

    trajectory: np.ndarray
    private: dict[str, np.ndarray]
    levels: tuple[tuple[int, ...], ...]

    @property
    def score(self) -> np.ndarray:
        """The score before rounding and clipping, shape (N,)."""
        return self.trajectory.mean(1) + sum(self.private.values())

    def seen(self, modality: str) -> np.ndarray:
        """Return the part of the score that a modality shows, noise aside: (N,)."""
        return self.trajectory.mean(1) + self.private[modality]


@dataclass(frozen=True)
class GroundTruth:
    """Truth of every split, rows as in the data, and the audio and vision sensors."""

    splits: dict[str, SplitTruth]
    sensors: dict[str, Sensor]


@dataclass(frozen=True)
class Demo:
    """A demo set: its splits, as any loader returns them, and their ground truth."""

    splits: dict[str, Split]
    truth: GroundTruth


def make_demo(seed: int = DEMO_SEED, sizes: tuple[int, int, int] = DEMO_SIZES) -> Demo:
    """Generate the synthetic demo set.

    Parameters
    ----------
    seed : int
        Not negative; the same seed gives identical data.
    sizes : tuple of int
        Clips in train, valid and test.

    Returns
    -------
    Demo
        Tokens (N, 32), audio (N, 24, 12), vision (N, 30, 16), labels in [-3, 3].

    Raises
    ------
    ValueError
        If there are not three positive sizes, or if the seed is negative.
    EncoderError
        If MiniLM is not installed: its vocabulary is bert-base-uncased's, as that of
        the real data.
    """
    if len(sizes) != len(SPLITS) or min(sizes) < 1:
        raise ValueError(
            f"demo sizes are {sizes}: give three positive numbers of clips, for "
            f"{', '.join(SPLITS)}"
        )
    if seed < 0:
        raise ValueError(f"demo seed is {seed}: give 0 or a positive integer")
    splits, truths, first_video = {}, {}, 0
    for row, (name, size) in enumerate(zip(SPLITS, sizes, strict=True)):
        rng = np.random.default_rng([seed, row])
        videos, clips = _videos(rng, size)
        ids = tuple(
            f"demo_{first_video + video:03d}$_${clip}"
            for video, clip in zip(videos, clips, strict=True)
        )
        first_video += int(videos[-1]) + 1
        splits[name], truths[name] = _make_split(rng, name, ids, videos)
    return Demo(splits, GroundTruth(truths, SENSORS))


def demo_sha256(demo: Demo) -> str:
    """Return the SHA-256 (hex) of every id, sentence and tensor of a demo set."""
    digest = hashlib.sha256()
    for name in SPLITS:
        for entry in fields(Split):
            value = getattr(demo.splits[name], entry.name)
            if isinstance(value, Tensor):
                digest.update(
                    f"{entry.name} {value.dtype} {tuple(value.shape)}".encode()
                )
                digest.update(value.numpy().tobytes())
            else:
                digest.update(repr((entry.name, value)).encode())
    return digest.hexdigest()


def _videos(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Deal clips to videos of two to eight clips (the last may be shorter)."""
    counts = rng.integers(2, 9, size=size)
    videos = np.repeat(np.arange(size), counts)[:size]
    clips = np.concatenate([np.arange(count) for count in counts])[:size]
    return videos, clips


def _make_split(
    rng: np.random.Generator, name: str, ids: tuple[str, ...], videos: np.ndarray
) -> tuple[Split, SplitTruth]:
    size = len(ids)
    drift = DRIFT_SD * _autoregressive(rng, (size, MOMENTS))
    trajectory = LEVEL_SD * rng.standard_normal((size, 1)) + drift
    private = {m: PRIVATE_SD[m] * rng.standard_normal(size) for m in MODALITIES}

    clauses = rng.integers(1, 4, size=size)
    topics = rng.integers(len(TOPICS), size=size)[videos]  # one topic per video
    stated = trajectory + private["text"][:, None]
    levels = tuple(map(_levels, stated, clauses))
    raw_text = tuple(
        _sentence(rng, list(TOPICS)[topic], steps)
        for topic, steps in zip(topics, levels, strict=True)
    )
    token_ids, token_mask = _tokenise(raw_text)

    truth = SplitTruth(trajectory, private, levels)
    # Adding 0 turns the -0 that rounding can give into 0.
    labels = np.clip(np.round(truth.score * 5) / 5, -3, 3) + 0.0
    signals = {}
    for modality, sensor in SENSORS.items():
        extra = rng.integers(EXTRA_STEPS + 1, size=size)
        lengths = sensor.steps_per_clause * clauses + extra
        path = trajectory + private[modality][:, None]
        signals[modality] = _sense(rng, sensor, path, lengths)
        signals[f"{modality}_lengths"] = torch.from_numpy(lengths)
    split = Split(
        name=name,
        ids=ids,
        raw_text=raw_text,
        token_ids=token_ids,
        token_mask=token_mask,
        labels=torch.from_numpy(labels).float(),
        **signals,
    )
    return split, truth


def _autoregressive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Stationary first-order process of unit variance along axis 1."""
    path = rng.standard_normal(shape)
    for step in range(1, shape[1]):
        path[:, step] *= np.sqrt(1 - PERSISTENCE**2)
        path[:, step] += PERSISTENCE * path[:, step - 1]
    return path


def _sense(
    rng: np.random.Generator, sensor: Sensor, path: np.ndarray, lengths: np.ndarray
) -> Tensor:
    """Read paths (N, MOMENTS) with a sensor's channels: (N, T, d), 0 at padding."""
    size, width = len(path), len(sensor.kinds)
    moments = np.arange(sensor.steps) * MOMENTS // lengths[:, None]  # (N, T)
    moments = moments.clip(max=MOMENTS - 1)  # past the end: padding, zeroed below
    signal = np.take_along_axis(path, moments, axis=1)
    noise = _autoregressive(rng, (size, sensor.steps, width))
    channel_sd = np.hypot(sensor.signal_sd, sensor.noise_sd)

    channels = channel_sd * noise  # (N, T, d)
    for channel in range(sensor.informative):
        sign = -1 if channel % 2 else 1  # a smile rises, a frown falls
        channels[:, :, channel] = sign * signal + sensor.noise_sd * noise[:, :, channel]
    for copy, source in sensor.sources.items():
        channels[:, :, copy] *= np.sqrt(1 - sensor.copy_corr**2)
        channels[:, :, copy] += sensor.copy_corr * channels[:, :, source]
    real = padding_mask(torch.from_numpy(lengths), sensor.steps)
    return torch.from_numpy(channels).float().masked_fill(~real[:, :, None], 0.0)


def _levels(path: np.ndarray, clauses: int) -> tuple[int, ...]:
    pieces = np.array_split(path, clauses)
    return tuple(int(np.clip(np.round(piece.mean()), -3, 3)) for piece in pieces)


def _pick(rng: np.random.Generator, options: tuple) -> Any:
    return options[rng.integers(len(options))]


def _sentence(rng: np.random.Generator, topic: str, levels: tuple[int, ...]) -> str:
    nouns = (f"this {topic}", *(f"the {noun}" for noun in TOPICS[topic]))
    chosen = rng.permutation(len(nouns))[: len(levels)]
    parts = [_pick(rng, FILLERS)]
    for place, (level, noun) in enumerate(zip(levels, chosen, strict=True)):
        if place:
            parts.append(", but " if level * levels[place - 1] < 0 else ", and ")
        parts.append(_clause(rng, nouns[noun], level))
    text = "".join(parts)
    return text[0].upper() + text[1:] + "."


def _clause(rng: np.random.Generator, noun: str, level: int) -> str:
    modifier, value = _pick(rng, WAYS[abs(level)])
    value = value if level >= 0 else -value
    with_verb = rng.random() < 1 / 3
    word = _pick(rng, (VERBS if with_verb else ADJECTIVES)[value])
    if modifier == "negation":
        return f"I did not {word} {noun}" if with_verb else f"{noun} was not {word}"
    degree = _pick(rng, MODIFIERS[modifier])
    if with_verb:
        past = word + ("d" if word.endswith("e") else "ed")
        return f"I {degree}{past} {noun}"
    return f"{noun} {_pick(rng, LINKS)} {degree}{word}"


def _tokenise(sentences: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Return bert-base-uncased ids (N, L) and the mask of real tokens (N, L)."""
    from tokenizers import Tokenizer  # here, so that importing msa.data stays light

    tokenizer = Tokenizer.from_file(str(encoder_folder("minilm") / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding(length=TEXT_STEPS)
    encodings = tokenizer.encode_batch(list(sentences))
    ids = torch.tensor([encoding.ids for encoding in encodings])
    return ids, torch.tensor([e.attention_mask for e in encodings]).bool()
