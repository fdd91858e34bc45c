"""How often each label occurs: all that the checks need to know of the real data.

The counts are published in ``results/audit``, so the audit runs without any data set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msa.data.paths import repo_root, results_dir

Labels = dict[str, dict[str, NDArray[np.float32]]]
"""Sorted labels of every split of every data set: ``labels["MOSI"]["test"]``."""

DATASETS = ("mosi", "mosei", "sims")


def scale_of(dataset: str) -> str:
    """Return the label scale of a data set: ``"sims"`` for CH-SIMS, else ``"mosi"``."""
    return "sims" if dataset.upper() == "SIMS" else "mosi"


def count_labels() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Count the labels of the real data sets.

    Returns
    -------
    counts : DataFrame
        Columns ``dataset, split, label, count``, one row per distinct label.
    splits : DataFrame
        Columns ``dataset, split, clips, videos``.

    Raises
    ------
    MissingData
        If a data set is not there.
    """
    from msa.data.load import load  # only counting needs torch, reading does not

    counts, splits = [], []
    for name in DATASETS:
        data = load(name, standardise=False)
        for split, part in data.splits.items():
            values, times = np.unique(part.labels.numpy(), return_counts=True)
            counts += [
                {"dataset": name.upper(), "split": split, "label": v, "count": n}
                for v, n in zip(values, times, strict=True)
            ]
            splits.append(
                {
                    "dataset": name.upper(),
                    "split": split,
                    "clips": len(part),
                    "videos": len(set(part.videos)),
                }
            )
    return pd.DataFrame(counts), pd.DataFrame(splits)


def write_counts() -> None:
    """Write ``label_counts.csv`` and ``splits.csv`` from the real data sets.

    Raises
    ------
    MissingData
        If a data set is not there.
    ResultsError
        If the folder of results does not take them.
    """
    from msa.study.layout import Folder  # needs torch, as counting does

    folder = Folder(results_dir())
    for name, table in zip(("label_counts", "splits"), count_labels(), strict=True):
        content = table.to_csv(index=False, lineterminator="\n").encode()
        folder.put(f"audit/{name}.csv", content)
    with folder.exclusive():
        folder.write()


def read_labels(folder: Path | None = None) -> Labels:
    """Return the labels of every split, rebuilt from their published counts.

    Parameters
    ----------
    folder : path, optional
        Folder of ``label_counts.csv``; when left out ``audit`` in the results, or in
        those of the repository where results of one's own have none.
    """
    path = _published("label_counts.csv", folder)
    counts = pd.read_csv(path, dtype={"label": np.float32})
    return {
        dataset: {
            split: np.repeat(rows["label"].to_numpy(), rows["count"])
            for split, rows in part.groupby("split", sort=False)
        }
        for dataset, part in counts.groupby("dataset", sort=False)
    }


def read_splits(folder: Path | None = None) -> pd.DataFrame:
    """Return clips and videos of every split: ``dataset, split, clips, videos``."""
    return pd.read_csv(_published("splits.csv", folder))


def _published(name: str, folder: Path | None) -> Path:
    if folder:
        return folder / name
    own = results_dir() / "audit" / name
    # The data sets' own labels are the same facts whatever runs are published.
    return own if own.is_file() else repo_root() / "results" / "audit" / name
