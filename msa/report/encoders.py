"""Frozen against fine-tuned text encoders."""

from __future__ import annotations

import pandas as pd

from msa.data.registry import source
from msa.report.beyond import (
    Shown,
    gain_with_interval,
    in_usual_order,
    not_run,
    plain_table,
)
from msa.report.labels import (
    axis_label,
    decimals_of,
    describe,
    main_runs,
    of_metric,
    printed,
    seeds_told,
    shown,
    view_words,
)
from msa.study.encoders import load_encoders
from msa.study.layout import matching
from msa.study.results import load_runs, load_summary
from msa.study.stats import side_of_zero
from msa.train.metrics import METRICS


def table(dataset: str, view: str, metric: str = "MAE") -> Shown:
    """Put systems with a frozen text encoder beside the same with a trained one."""
    both = _compared(dataset, view, metric)
    if both.empty:
        return not_run("finetuned")
    frame = pd.DataFrame(
        {
            "Rate": both["at"],
            "System": both["model"],
            "Frozen": [printed(metric, value) for value in both["frozen"]],
            "Fine-tuned": [printed(metric, value) for value in both["finetuned"]],
            "Gain": [gain_with_interval(metric, row) for _, row in both.iterrows()],
            "Seeds": both["n"],
        }
    )
    runs = main_runs(load_runs())
    runs = runs[(runs["dataset"] == dataset) & (runs["view"] == view)]
    runs = runs[runs["encoder"].isin(both["encoder"])]
    rates = runs["missing_rate"].map("{:.1f}".format)
    runs = runs[runs["model"].isin(both["model"]) & rates.isin(both["at"])]
    caption = (
        f"{axis_label(metric)} with a frozen and with a fine-tuned text encoder, means "
        "over the seeds that both have; gain of fine-tuning with its 95 % interval "
        f"over seeds and clips, positive is better. {describe(runs)}"
    )
    return plain_table(frame, both, f"encoders-{dataset}-{metric}", caption)


def in_words(dataset: str, view: str, metric: str = "MAE") -> str:
    """Say how often fine-tuning helps and how much, and which system is best each way.

    The best frozen system is that of all which were run so, at the lowest missing rate
    that was run both ways.
    """
    both, title = _compared(dataset, view, metric), source(dataset, view).title
    both = both.dropna(subset="gain")
    if both.empty:
        return f"{title} has no runs with a fine-tuned encoder yet."
    gains = both["gain"].map(lambda gain: shown(metric, gain))
    places, encoder = decimals_of(metric), both["encoder"].iloc[0]
    side = side_of_zero(both["lo"], both["hi"])
    seeds = seeds_told(both["n"])
    return (
        f"{title}, {view_words(view, [dataset])}, text encoder {encoder}, {seeds} a "
        f"cell: fine-tuning is better in {(gains > 0).sum()} of {len(gains)} cells "
        f"of {axis_label(metric)}, by {gains.mean():+z.{places}f} on average (from "
        f"{gains.min():+z.{places}f} to {gains.max():+z.{places}f}); the interval is "
        f"above 0, by more than another draw of the resamples moves it, in "
        f"{(side > 0).sum()} and below in {(side < 0).sum()}. "
        f"{_best(both, metric)}"
    )


def _best(both: pd.DataFrame, metric: str) -> str:
    """Name the best system with a frozen and with a fine-tuned encoder at one rate."""
    first = both.iloc[0]
    at = first["at"]
    place = dict(first[["dataset", "view", "encoder"]]) | {"encoder_mode": "frozen"}
    place |= {"metric": metric, "missing_rate": float(at)}
    frozen = matching(main_runs(load_summary()), place)
    by_way = {
        "fine-tuned": both[both["at"] == at].set_index("model")["finetuned"],
        "frozen": frozen.set_index("model")["mean"],
    }
    is_up, told = METRICS[metric].higher_is_better, []
    for way, scores in by_way.items():
        scores = scores.dropna()
        name = scores.idxmax() if is_up else scores.idxmin()
        best = printed(metric, scores[name])
        told.append(f"of {len(scores)} {way} systems {name} is best ({best})")
    return f"At missing rate {at}, {' and '.join(told)}."


def _compared(dataset: str, view: str, metric: str) -> pd.DataFrame:
    """Return the stored comparisons at missing rates, systems in their usual order."""
    own = of_metric(load_encoders(), metric)
    own = own[(own["dataset"] == dataset) & (own["view"] == view)]
    own = own[own["at"] != "AUILC"]
    return in_usual_order(own, "at")
