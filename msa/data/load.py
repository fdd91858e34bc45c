"""One function from a name to a validated data set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from msa.data.contract import CLIP_SIGN, Split
from msa.data.paths import data_dir
from msa.data.pickles import DataError, Repair, read_splits
from msa.data.registry import DataSource, source, sources


class MissingData(DataError, FileNotFoundError):
    """A data file that is not there; the message says where to get it."""


@dataclass(frozen=True)
class Dataset:
    """A data set in one feature view, complete and validated.

    Attributes
    ----------
    source : DataSource
        What it is: every number computed from it carries its data set and view.
    splits : dict of str to Split
        Keyed ``"train"``, ``"valid"``, ``"test"``.
    sha256 : str
        SHA-256 of the file, or of the generated content (demo).
    standardised : bool
        Whether audio and vision were standardised with train statistics.
    notes : tuple of str
        What a reader of results must know: repairs, ids that name no video, and a
        checksum other than the published one.
    repairs : tuple of Repair
        What was repaired while reading, counted.
    """

    source: DataSource
    splits: dict[str, Split]
    sha256: str
    standardised: bool
    notes: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()


def load(
    dataset: str,
    view: str | None = None,
    *,
    root: Path | str | None = None,
    standardise: bool | None = None,
) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    dataset : str
        ``"mosi"``, ``"mosei"``, ``"sims"`` or ``"demo"``.
    view : str, optional
        Feature view; the data set's default view when left out.
    root : path, optional
        Data folder; ``MSA_DATA`` or ``data/`` in the repository when left out.
    standardise : bool, optional
        Whether to standardise audio and vision. When left out: yes for ``clip-context``
        and the demo set, whose values are raw; no for the official files, because none
        of the released loaders of TFR-Net, MFMB-Net and MIT-FRNet does.

    Returns
    -------
    Dataset
        On the CPU.

    Raises
    ------
    UnknownData
        If the combination of data set and view does not exist.
    MissingData
        If the file is not there.
    DataError
        If the file breaks the layout.
    """
    chosen = source(dataset, view)
    if chosen.path is None:
        splits, sha256 = _generated()
        repairs = ()
    else:
        splits, sha256, repairs = read_splits(_file(chosen, root), chosen)
    if standardise is None:
        standardise = chosen.view in ("clip-context", "synthetic")
    if standardise:
        splits = _standardised(splits)
    notes = [str(repair) for repair in repairs]
    if not any(CLIP_SIGN in clip for split in splits.values() for clip in split.ids):
        notes.append(
            f"no id has {CLIP_SIGN!r} between video and clip: every clip counts as a "
            "video of its own, so intervals draw single clips, which makes them too "
            "narrow where clips share a video"
        )
    if other := chosen.other_file(sha256):
        notes.append(other)  # not an error: makers publish corrected files
    return Dataset(chosen, splits, sha256, standardise, tuple(notes), repairs)


def checksum(
    dataset: str, view: str | None = None, *, root: Path | str | None = None
) -> str:
    """Return the SHA-256 that :func:`load` gives, of a file without reading the data.

    Parameters
    ----------
    dataset, view, root
        As in :func:`load`.

    Raises
    ------
    UnknownData, MissingData
        As :func:`load` does. What is in the file is not looked at.
    """
    chosen = source(dataset, view)
    if chosen.path is None:
        return _generated()[1]
    with _file(chosen, root).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _generated() -> tuple[dict[str, Split], str]:
    """Return the demo set and the SHA-256 of its content."""
    # Only the demo set needs its grammar and a tokenizer.
    from msa.data.demo import DEMO_SEED, demo_sha256, make_demo

    demo = make_demo(DEMO_SEED)
    return demo.splits, demo_sha256(demo)


def _file(wanted: DataSource, root: Path | str | None) -> Path:
    """Return the file of a source that has one, if it is there."""
    folder = Path(root) if root is not None else data_dir()
    path = folder / wanted.path
    if not path.is_file():
        raise MissingData(_missing(wanted, folder))
    return path


def _missing(wanted: DataSource, folder: Path) -> str:
    """Say what was looked for, where, where to get it, and what is there instead."""
    present = [
        other.view
        for other in sources(wanted.dataset)
        if other.path is not None and (folder / other.path).is_file()
    ]
    there = (
        f"Other views of {wanted.title} in this folder: {', '.join(present)}."
        if present
        else f"No other view of {wanted.title} is in this folder either."
    )
    return (
        f"{wanted.title}, view {wanted.view!r}: looked for {wanted.path} in {folder} "
        "and did not find it (the environment variable MSA_DATA names another data "
        f"folder). {wanted.obtain} Its SHA-256 is {wanted.sha256}. {there}"
    )


def _standardised(splits: dict[str, Split]) -> dict[str, Split]:
    """Centre and scale audio and vision with statistics of the real train steps.

    Padding stays exactly 0. A feature that is constant in train is centred only.
    """
    from sklearn.preprocessing import StandardScaler  # here: it loads slowly

    scaled: dict[str, dict[str, torch.Tensor]] = {name: {} for name in splits}
    for modality in ("audio", "vision"):
        masks = {name: s.padding_masks()[modality] for name, s in splits.items()}
        steps = getattr(splits["train"], modality)[masks["train"]]  # (steps, d)
        # Double precision, because a feature may be large with a small spread.
        scaler = StandardScaler().fit(steps.numpy().astype(np.float64))
        mean, scale = torch.from_numpy(scaler.mean_), torch.from_numpy(scaler.scale_)
        for name, split in splits.items():
            values = getattr(split, modality)
            result = torch.zeros_like(values)
            result[masks[name]] = (
                (values[masks[name]].double() - mean) / scale
            ).float()  # (steps, d)
            scaled[name][modality] = result
    return {name: replace(split, **scaled[name]) for name, split in splits.items()}
