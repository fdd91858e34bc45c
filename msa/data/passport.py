"""The data passport: what a data set holds, as tidy tables small enough to publish.

Every table starts with the columns ``dataset`` and ``view``, so that the passports of
several data sets can be laid one under the other. The linear probes bound what one
modality can say alone: a trained model far above them has seen what it should not.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from msa.data.contract import MODALITIES, SPLITS, Split
from msa.data.load import Dataset
from msa.data.missing import kept_masks, missing_masks
from msa.data.numbers import RATES, correlation

PICTURE_RATES = (0.1, 0.5, 0.9)
"""Missing rates whose masks the passport draws."""

PICTURE_CLIPS = 40
"""Clips in a picture of masks: the first ones of the train split."""

ALPHAS = tuple(10.0 ** (power / 2) for power in range(-4, 11))
"""Ridge penalties to choose from, 0.01 to 100,000; features have unit variance."""

_MASK_SIGNS = np.array([".", "-", "#"])
_HISTOGRAM_BINS = 50


def passport(
    dataset: Dataset, text_features: Mapping[str, np.ndarray] | None = None
) -> dict[str, pd.DataFrame]:
    """Describe a data set in tidy tables.

    Parameters
    ----------
    dataset : Dataset
        A loaded data set.
    text_features : mapping of str to array, shape (N, d), optional
        Mean-pooled frozen text features, keyed by split; adds the probes on text and
        on all three modalities.

    Returns
    -------
    dict of str to DataFrame
        ``source``: one row of what it is. ``splits``: clips, videos and classes.
        ``labels``: clips per label value. ``shapes``: padded length and width.
        ``lengths``: quantiles of true lengths (steps), and ``length_histogram``.
        ``missing``: what each missing rate removes. ``overlap``: videos that two splits
        share. ``repairs``: counts of repaired values, ``not finite`` ones included at
        0. ``probes``: linear probes, see :func:`linear_probe`. ``masks``: kept steps
        of the first train clips, see :func:`mask_picture`.

    Raises
    ------
    ValueError
        If the text features do not fit the splits.
    """
    tables = {
        "source": _source(dataset),
        "splits": _splits(dataset),
        "labels": _labels(dataset),
        "shapes": _shapes(dataset),
        "lengths": _lengths(dataset),
        "length_histogram": _length_histogram(dataset),
        "missing": _missing(dataset),
        "overlap": _overlap(dataset),
        "repairs": _repairs(dataset),
        "probes": _probes(dataset, text_features),
        "masks": _masks(dataset),
    }
    for table in tables.values():
        table.insert(0, "dataset", dataset.source.dataset)
        table.insert(1, "view", dataset.source.view)
    return tables


def _source(dataset: Dataset) -> pd.DataFrame:
    source = dataset.source
    row = {
        "title": source.title,
        "language": source.language,
        "label_low": source.label_range[0],
        "label_high": source.label_range[1],
        "sha256": dataset.sha256,
        "published_sha256": source.sha256,  # None for a generated set
        "standardised": dataset.standardised,
    }
    return pd.DataFrame([row])


def _splits(dataset: Dataset) -> pd.DataFrame:
    rows = []
    for name, split in dataset.splits.items():
        labels = split.labels.numpy()
        rows.append(
            {
                "split": name,
                "clips": len(split),
                "videos": len(set(split.videos)),
                "negative": int((labels < 0).sum()),
                "neutral": int((labels == 0).sum()),
                "positive": int((labels > 0).sum()),
            }
        )
    return pd.DataFrame(rows)


def _labels(dataset: Dataset) -> pd.DataFrame:
    """Count every label value: scores are means of a few raters, so values are few."""
    rows = []
    for name, split in dataset.splits.items():
        # Single precision spells 2/3 in more than one way; four decimals do not.
        scores = split.labels.numpy().astype(np.float64).round(4) + 0.0  # no minus 0
        for label, clips in zip(*np.unique(scores, return_counts=True), strict=True):
            rows.append({"split": name, "label": label, "clips": int(clips)})
    return pd.DataFrame(rows)


def _shapes(dataset: Dataset) -> pd.DataFrame:
    train = dataset.splits["train"]
    rows = [{"modality": "text", "steps": train.token_ids.shape[1], "width": None}]
    for modality in ("audio", "vision"):
        _, steps, width = getattr(train, modality).shape
        rows.append({"modality": modality, "steps": steps, "width": width})
    # Tokens have no width before an encoder is chosen.
    return pd.DataFrame(rows).astype({"width": "Int64"})


def _true_lengths(split: Split) -> dict[str, np.ndarray]:
    return {name: mask.sum(1).numpy() for name, mask in split.padding_masks().items()}


def _lengths(dataset: Dataset) -> pd.DataFrame:
    rows = []
    for name, split in dataset.splits.items():
        for modality, lengths in _true_lengths(split).items():
            q05, q25, q50, q75, q95 = np.quantile(
                lengths, [0.05, 0.25, 0.5, 0.75, 0.95]
            )
            rows.append(
                {
                    "split": name,
                    "modality": modality,
                    "mean": lengths.mean(),
                    "min": int(lengths.min()),
                    "q05": q05,
                    "q25": q25,
                    "median": q50,
                    "q75": q75,
                    "q95": q95,
                    "max": int(lengths.max()),
                }
            )
    return pd.DataFrame(rows)


def _length_histogram(dataset: Dataset) -> pd.DataFrame:
    """Count clips by length; bins of whole steps, ``low`` and ``high`` included."""
    rows = []
    for name, split in dataset.splits.items():
        for modality, lengths in _true_lengths(split).items():
            steps = split.padding_masks()[modality].shape[1]
            size = -(-steps // _HISTOGRAM_BINS)  # rounded up
            bins = np.bincount((lengths - 1) // size, minlength=-(-steps // size))
            for number, clips in enumerate(bins):
                low = number * size + 1
                high = min(low + size - 1, steps)
                rows.append(
                    {
                        "split": name,
                        "modality": modality,
                        "low": low,
                        "high": high,
                        "clips": int(clips),
                    }
                )
    return pd.DataFrame(rows)


def _missing(dataset: Dataset) -> pd.DataFrame:
    """Count what each rate removes under the protocol's fixed mask seeds.

    ``share`` is missing over real steps: in text it stays below the rate, since [CLS]
    and [SEP] are never removed. ``emptied`` counts clips with no step left.
    """
    rows = []
    for name, split in dataset.splits.items():
        real = split.padding_masks()
        for rate in RATES:
            gone = missing_masks(split, rate)
            for modality in MODALITIES:
                steps = int(real[modality].sum())
                missing = int(gone[modality].sum())
                left = (real[modality] & ~gone[modality]).any(1)
                rows.append(
                    {
                        "split": name,
                        "modality": modality,
                        "rate": rate,
                        "steps": steps,
                        "missing": missing,
                        "share": missing / steps,
                        "emptied": int((~left).sum()),
                    }
                )
    return pd.DataFrame(rows)


def _overlap(dataset: Dataset) -> pd.DataFrame:
    """Count videos that two splits share, and the second split's clips from these."""
    rows = []
    for first, second in combinations(SPLITS, 2):
        videos = set(dataset.splits[first].videos)
        others = dataset.splits[second].videos
        rows.append(
            {
                "first": first,
                "second": second,
                "shared_videos": len(videos & set(others)),
                "second_clips_in_shared": sum(video in videos for video in others),
            }
        )
    return pd.DataFrame(rows)


def _repairs(dataset: Dataset) -> pd.DataFrame:
    counts = {
        (name, key, "not finite"): 0
        for name in dataset.splits
        for key in ("audio", "vision")
    }
    for split, key, problem, count in dataset.repairs:
        counts[split, key, problem] = count
    rows = [(*column, count) for column, count in counts.items()]
    return pd.DataFrame(rows, columns=["split", "key", "problem", "count"])


def linear_probe(
    features: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Fit ridge regression on train, choose its penalty on valid, score on test.

    Parameters
    ----------
    features : mapping of str to array, shape (N, d)
        Keyed by split; standardised here with train statistics.
    labels : mapping of str to array, shape (N,)
        Sentiment scores.

    Returns
    -------
    dict of str to float
        ``width`` d, the chosen ``alpha`` (smallest valid MAE), and ``valid_mae``,
        ``test_mae``, ``test_corr``; the correlation is NaN for constant predictions.
    """
    from sklearn.linear_model import Ridge  # here: these load slowly
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def error(model: object, split: str) -> float:
        return float(np.abs(model.predict(features[split]) - labels[split]).mean())

    models = {
        alpha: make_pipeline(StandardScaler(), Ridge(alpha=alpha)).fit(
            features["train"], labels["train"]
        )
        for alpha in ALPHAS
    }
    alpha = min(models, key=lambda alpha: error(models[alpha], "valid"))
    return {
        "width": features["train"].shape[1],
        "alpha": alpha,
        "valid_mae": error(models[alpha], "valid"),
        "test_mae": error(models[alpha], "test"),
        "test_corr": correlation(
            models[alpha].predict(features["test"]), labels["test"]
        ),
    }


def _last_steps(split: Split, modality: str) -> np.ndarray:
    """Return the last real step of every clip, shape (N, d)."""
    values = getattr(split, modality)
    last = getattr(split, f"{modality}_lengths") - 1
    rows = np.arange(len(split))
    return values[rows, last].numpy().astype(np.float64)


def _probes(
    dataset: Dataset, text_features: Mapping[str, np.ndarray] | None
) -> pd.DataFrame:
    """Probe the last real step of audio and vision (clip-context: the current clip).

    The first row is no probe but the constant train median, the bar for MAE.
    """
    splits = dataset.splits
    labels = {name: s.labels.numpy().astype(np.float64) for name, s in splits.items()}
    inputs = {
        modality: {name: _last_steps(split, modality) for name, split in splits.items()}
        for modality in ("audio", "vision")
    }
    subsets = [("audio",), ("vision",), ("audio", "vision")]
    if text_features is not None:
        inputs["text"] = {
            name: _checked_text(text_features, name, len(split))
            for name, split in splits.items()
        }
        subsets += [("text",), MODALITIES]
    median = np.median(labels["train"])
    rows = [
        {
            "features": "constant",
            "width": 0,
            "alpha": float("nan"),
            "valid_mae": float(np.abs(labels["valid"] - median).mean()),
            "test_mae": float(np.abs(labels["test"] - median).mean()),
            "test_corr": float("nan"),
        }
    ]
    for subset in subsets:
        joined = {
            name: np.concatenate([inputs[m][name] for m in subset], axis=1)
            for name in splits
        }
        rows.append({"features": "+".join(subset), **linear_probe(joined, labels)})
    return pd.DataFrame(rows)


def _checked_text(
    features: Mapping[str, np.ndarray], name: str, count: int
) -> np.ndarray:
    if name not in features:
        raise ValueError(
            f"text_features: split {name!r} is missing; every split needs an array"
        )
    values = np.asarray(features[name], dtype=np.float64)
    if values.ndim != 2 or len(values) != count:
        raise ValueError(
            f"text_features: split {name!r} has the shape {values.shape}; expected "
            f"({count}, d), one row per clip"
        )
    return values


def _masks(dataset: Dataset) -> pd.DataFrame:
    """Spell the masks of the first train clips, one character per step.

    ``#`` is a kept step, ``-`` a missing one, ``.`` padding.
    """
    train = dataset.splits["train"]
    real = train.padding_masks()
    rows = []
    for rate in PICTURE_RATES:
        kept = kept_masks(train, rate)
        for modality in MODALITIES:
            codes = real[modality].int() + kept[modality].int()  # 0, 1 or 2
            signs = _MASK_SIGNS[codes[:PICTURE_CLIPS].numpy()]  # (clips, T)
            for clip, steps in enumerate(signs):
                rows.append(
                    {
                        "rate": rate,
                        "modality": modality,
                        "clip": clip,
                        "steps": "".join(steps),
                    }
                )
    return pd.DataFrame(rows)


def mask_picture(masks: pd.DataFrame, rate: float, modality: str) -> np.ndarray:
    """Turn rows of the ``masks`` table of one data set back into a picture.

    Parameters
    ----------
    masks : DataFrame
        The table, as :func:`passport` made it or as read from a file.
    rate : float
        One of `PICTURE_RATES`.
    modality : str
        One of the three modalities.

    Returns
    -------
    array of int8, shape (clips, T)
        0 at padding, 1 at a missing step, 2 at a kept step.

    Raises
    ------
    KeyError
        If the table has no such masks.
    """
    chosen = masks[np.isclose(masks["rate"], rate) & (masks["modality"] == modality)]
    if chosen.empty:
        raise KeyError(
            f"no masks of {modality!r} at rate {rate} in this table; it has the rates "
            f"{sorted(set(masks['rate']))} and {sorted(set(masks['modality']))}"
        )
    signs = np.array([list(steps) for steps in chosen.sort_values("clip")["steps"]])
    return (signs[:, :, None] == _MASK_SIGNS).argmax(2).astype(np.int8)
