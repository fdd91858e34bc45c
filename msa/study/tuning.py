"""What the tuning studies tried, and what the validation split chose."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from msa.study.grids import CANDIDATES, study
from msa.study.results import load_runs


def choices(dataset: str, results: Path | None = None) -> pd.DataFrame:
    """Return the candidate settings of every system, and which one is chosen.

    Parameters
    ----------
    dataset : str
        A key of ``CANDIDATES``.
    results : path, optional
        Published results; the repository's when left out.

    Returns
    -------
    DataFrame
        ``model``; ``candidate``, a dict of hyper-parameters; ``run_id``; ``valid_MAE``,
        missing where the run is not published; ``chosen``: True for the lowest
        validation MAE of a system, once all its candidates are published.
    """
    name = f"{dataset}-tuning"
    runs = load_runs(name, results).set_index("run_id")
    offers = CANDIDATES[dataset]
    tried = [(model, values) for model, offer in offers.items() for values in offer]
    table = pd.DataFrame(tried, columns=["model", "candidate"])
    table.insert(0, "run_id", [config.run_id for config in study(name).configs])
    found = runs["valid_MAE"] if "valid_MAE" in runs else pd.Series(dtype=float)
    table["valid_MAE"] = table["run_id"].map(found)
    by_model = table.groupby("model")["valid_MAE"]
    complete = by_model.transform("count") == by_model.transform("size")
    best = by_model.transform("min") == table["valid_MAE"]
    return table.assign(chosen=complete & best)
