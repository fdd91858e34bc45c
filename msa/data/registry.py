"""Every data set the study knows, in every feature view it exists in.

A view is the kind of audio and vision sequence: ``unaligned`` and ``aligned`` are the
frame-level files that the papers use, ``clip-context`` has one step per clip, and
``synthetic`` belongs to the embedded demo set. A number is never comparable across
views, so a result always carries the view beside the data set.
"""

from __future__ import annotations

from dataclasses import dataclass

_OFFICIAL = (
    "Download the 'Processed' feature files from the data page that the MMSA project "
    "(thuiar/MMSA) links in its README, and keep its folder layout."
)
_CLIP_CONTEXT = (
    "Ask the makers of this study for their clip-context files: they hold features of "
    "research data sets and are not part of the repository."
)
_DEMO = "Nothing to obtain: the package generates this set from a seed."

_TITLES = {
    "mosi": "CMU-MOSI",
    "mosei": "CMU-MOSEI",
    "sims": "CH-SIMS",
    "demo": "demo (synthetic)",
}

DATASETS = tuple(_TITLES)
"""Names of the data sets, in the order of tables."""

VIEWS = ("clip-context", "unaligned", "aligned", "synthetic")
"""Names of the feature views."""

FRAME_LEVEL = ("unaligned", "aligned")
"""Views that the papers use."""


class UnknownData(KeyError):
    """A data set or a feature view that does not exist."""

    def __str__(self) -> str:
        # KeyError prints the repr of its argument, which would escape the message.
        return str(self.args[0])


@dataclass(frozen=True)
class DataSource:
    """One data set in one feature view.

    Attributes
    ----------
    dataset : str
        ``"mosi"``, ``"mosei"``, ``"sims"`` or ``"demo"``.
    view : str
        One of `VIEWS`.
    path : str or None
        File below the data folder, with forward slashes; None when generated.
    sha256 : str or None
        Published SHA-256 of the file; None when generated.
    language : str
        ``"English"`` or ``"Chinese"``.
    label_range : tuple of float
        Smallest and largest sentiment score that annotators could give.
    scale : str
        Which metrics apply: ``"mosi"`` (-3 to 3) or ``"sims"`` (-1 to 1).
    obtain : str
        Where a user gets the file.
    """

    dataset: str
    view: str
    path: str | None
    sha256: str | None
    language: str
    label_range: tuple[float, float]
    scale: str
    obtain: str

    @property
    def title(self) -> str:
        """Name of the data set as the field writes it, such as ``"CMU-MOSI"``."""
        return _TITLES[self.dataset]

    def is_published(self, sha256: str) -> bool:
        """Tell whether data of a SHA-256 are the published file; generated ones are."""
        return self.sha256 in (None, sha256)

    def other_file(self, sha256: str) -> str:
        """Say that data are not the published file; empty where they are."""
        if self.is_published(sha256):
            return ""
        return (
            f"{self.path}: SHA-256 {sha256} is not the published {self.sha256}; "
            "results may differ from those of the published file"
        )


def _entry(dataset: str, view: str, path: str | None, sha256: str | None) -> DataSource:
    sims = dataset == "sims"
    obtain = {"clip-context": _CLIP_CONTEXT, "synthetic": _DEMO}.get(view, _OFFICIAL)
    return DataSource(
        dataset=dataset,
        view=view,
        path=path,
        sha256=sha256,
        language="Chinese" if sims else "English",
        label_range=(-1.0, 1.0) if sims else (-3.0, 3.0),
        scale="sims" if sims else "mosi",
        obtain=obtain,
    )


_SOURCES = {
    (entry.dataset, entry.view): entry
    for entry in (
        _entry(
            "mosi",
            "clip-context",
            "mosi/clip_context.pkl",
            "5e5566c1eb746676cbeed422ca4f845855b4e7e1b2f0c6bd3c5091c940ed27e9",
        ),
        _entry(
            "mosi",
            "unaligned",
            "MOSI/Processed/unaligned_50.pkl",
            "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524",
        ),
        _entry(
            "mosi",
            "aligned",
            "MOSI/Processed/aligned_50.pkl",
            "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9",
        ),
        _entry(
            "mosei",
            "clip-context",
            "mosei/clip_context.pkl",
            "d5847bed7d68827672ab3be752d76a156216ff0e84acc3054d609745eb55f3bc",
        ),
        _entry(
            "mosei",
            "unaligned",
            "MOSEI/Processed/unaligned_50.pkl",
            "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f",
        ),
        _entry(
            "mosei",
            "aligned",
            "MOSEI/Processed/aligned_50.pkl",
            "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791",
        ),
        _entry(
            "sims",
            "clip-context",
            "sims/clip_context.pkl",
            "a75409129a8ff7fa0abd437267cdd14924a9f2cf22659e9aae36ee7d79089100",
        ),
        _entry(
            "sims",
            "unaligned",
            "SIMS/Processed/unaligned_39.pkl",
            "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f",
        ),
        _entry("demo", "synthetic", None, None),
    )
}


def sources(dataset: str | None = None) -> tuple[DataSource, ...]:
    """Return every source, or those of one data set, in the order of tables."""
    return tuple(s for s in _SOURCES.values() if dataset in (None, s.dataset))


def default_view(dataset: str) -> str:
    """Return the view that is meant when none is named.

    Raises
    ------
    UnknownData
        If there is no such data set.
    """
    if dataset not in DATASETS:
        raise UnknownData(
            f"there is no data set {dataset!r}; choose one of {', '.join(DATASETS)}"
        )
    return "synthetic" if dataset == "demo" else "clip-context"


def source(dataset: str, view: str | None = None) -> DataSource:
    """Return the source of a data set in a view.

    Parameters
    ----------
    dataset : str
        One of `DATASETS`.
    view : str, optional
        One of `VIEWS`; the default view of the data set when left out.

    Raises
    ------
    UnknownData
        If the combination does not exist; the message lists those that do.
    """
    view = default_view(dataset) if view is None else view
    default_view(dataset)  # an unknown data set is told apart from an unknown view
    if (dataset, view) not in _SOURCES:
        there = ", ".join(repr(s.view) for s in sources(dataset))
        raise UnknownData(f"{dataset!r} has no view {view!r}; it exists as {there}")
    return _SOURCES[dataset, view]
