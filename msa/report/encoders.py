"""Frozen against fine-tuned text encoders."""

from __future__ import annotations

import pandas as pd

from msa.data.registry import source
from msa.report.beyond import Shown, not_run, plain_table
from msa.report.labels import (
    axis_label,
    decimals_of,
    describe,
    main_runs,
    printed,
    shown,
)
from msa.report.style import system_order
from msa.study.results import load_runs, load_summary
from msa.train.metrics import METRICS


def table(dataset: str, view: str, metric: str = "MAE") -> Shown:
    """Put systems with a frozen text encoder beside the same with a trained one."""
    both = _encoders(dataset, view, metric)
    if both.empty:
        return not_run("finetuned")
    frame = pd.DataFrame(
        {
            "Rate": both["missing_rate"].map("{:.1f}".format),
            "System": both["model"],
            "Frozen": [printed(metric, v) for v in both["mean_frozen"]],
            "Fine-tuned": [printed(metric, v) for v in both["mean"]],
            "Gain": [
                f"{shown(metric, gain):+z.{decimals_of(metric)}f}"
                for gain in both["gain"]
            ],
            "Seeds": [
                f"{a:.0f} and {b:.0f}"
                for a, b in zip(both["n_frozen"], both["n"], strict=True)
            ],
        }
    )
    runs = main_runs(load_runs())
    runs = runs[(runs["dataset"] == dataset) & (runs["view"] == view)]
    caption = (
        f"{axis_label(metric)} with a frozen and with a fine-tuned text encoder, means "
        f"over seeds; gain of fine-tuning, positive is better. {describe(runs)}"
    )
    return plain_table(frame, both, f"encoders-{dataset}-{metric}", caption)


def in_words(dataset: str, view: str, metric: str = "MAE") -> str:
    """Say how often fine-tuning the encoder helps, and how much."""
    both, title = _encoders(dataset, view, metric), source(dataset, view).title
    if both.empty:
        return f"{title} has no runs with a fine-tuned encoder yet."
    gains = both["gain"].map(lambda gain: shown(metric, gain))
    places = decimals_of(metric)
    return (
        f"{title}: fine-tuning is better in {(gains > 0).sum()} of {len(gains)} cells "
        f"of {axis_label(metric)}, by {gains.mean():+z.{places}f} on average (from "
        f"{gains.min():+z.{places}f} to {gains.max():+z.{places}f})."
    )


def _encoders(dataset: str, view: str, metric: str) -> pd.DataFrame:
    """Return cells that were run both ways, with the gain of fine-tuning."""
    own = main_runs(load_summary())
    own = own[(own["dataset"] == dataset) & (own["view"] == view)]
    own = own[own["metric"] == metric]
    frozen = own[own["encoder_mode"] == "frozen"]
    trained = own[own["encoder_mode"] == "finetune"]
    keys = ["missing_rate", "model", "variant", "encoder"]
    both = trained.merge(frozen, on=keys, suffixes=("", "_frozen"))
    sign = 1 if METRICS[metric].higher_is_better else -1
    order = {model: i for i, model in enumerate(system_order(both["model"]))}
    both = both.assign(
        gain=sign * (both["mean"] - both["mean_frozen"]),
        order=both["model"].map(order),
    )
    return both.sort_values(["missing_rate", "order"]).reset_index(drop=True)
