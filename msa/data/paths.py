"""Where things lie on disk: every folder of the project, each with its variable."""

from __future__ import annotations

import os
from pathlib import Path


def repo_root() -> Path:
    """Return the folder of the repository, the parent of the package."""
    return Path(__file__).resolve().parents[2]


def _folder(variable: str, default: Path) -> Path:
    """Return the folder an environment variable names; unset or empty: the default."""
    value = os.environ.get(variable, "").strip()
    return Path(value).expanduser().resolve() if value else default


def data_dir() -> Path:
    """Return the folder of the data sets: ``MSA_DATA``, else ``data/``."""
    return _folder("MSA_DATA", repo_root() / "data")


def models_dir() -> Path:
    """Return the folder of local text encoders: ``MSA_MODELS``, else ``data/models/``.

    The default does not follow ``MSA_DATA``, so that moving one moves only that one.
    """
    return _folder("MSA_MODELS", repo_root() / "data" / "models")


def store_dir() -> Path:
    """Return the folder of the working run store: ``MSA_STORE``, else ``runs/``."""
    return _folder("MSA_STORE", repo_root() / "runs")


def cache_dir() -> Path:
    """Return the folder of things that can be made again: ``MSA_CACHE``.

    The default is ``.cache/msa/`` in the repository.
    """
    return _folder("MSA_CACHE", repo_root() / ".cache" / "msa")


def results_dir() -> Path:
    """Return the folder of published results: ``MSA_RESULTS``, else ``results/``.

    The default is part of the repository. Who has other data, such as the papers' own
    features, can publish elsewhere and read every page from there.
    """
    return _folder("MSA_RESULTS", repo_root() / "results")
