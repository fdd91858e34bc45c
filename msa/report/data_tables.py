"""Tables of the data sets: sources, splits, and what a linear probe finds."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from msa.data.passport import ALPHAS
from msa.data.registry import source
from msa.data.text import default_encoder
from msa.models.references import TextLinearHyper
from msa.report.labels import MISSING, printed, short_label
from msa.report.tables import Table

OTHER_FILE = ", not the published file"
"""What stands behind the SHA-256 of a file that only bears the name."""


def source_table(sources: pd.DataFrame) -> Table:
    """Tabulate what the data sets are, from the passports' ``source`` tables."""
    frame = pd.DataFrame(
        {
            "Data set": sources["title"],
            "View": sources["view"],
            "Language": sources["language"],
            "Labels": [
                f"{low:g} to {high:g}"
                for low, high in zip(
                    sources["label_low"], sources["label_high"], strict=True
                )
            ],
            "Standardised": sources["standardised"].map({True: "yes", False: "no"}),
            "SHA-256": [
                f"{sha256[:12]}…{'' if sha256 == published else OTHER_FILE}"
                for sha256, published in zip(
                    sources["sha256"],
                    sources["published_sha256"].fillna(sources["sha256"]),
                    strict=True,
                )
            ],
        }
    )
    caption = (
        "The data behind the results. Standardised: audio and vision by the statistics "
        "of the train split. SHA-256: of the file that was read (demo: of the "
        "generated values); in full in the CSV."
    )
    return replace(Table.plain(frame, "data-sources", caption), data=sources)


def splits_table(splits: pd.DataFrame, overlap: pd.DataFrame) -> Table:
    """Tabulate clips, classes and videos shared between splits.

    Parameters
    ----------
    splits, overlap : DataFrame
        The passports' tables of that name, of any data sets.
    """
    keys = ["dataset", "view"]
    first = overlap.rename(columns={"first": "split", "second": "other"})
    second = overlap.rename(columns={"second": "split", "first": "other"})
    both = pd.concat([first, second]).groupby([*keys, "split"])["shared_videos"].sum()
    shared = [both[key] for key in splits[[*keys, "split"]].itertuples(index=False)]
    frame = pd.DataFrame(
        {
            "Data set": [short_label(splits.loc[[i]]) for i in splits.index],
            "Split": splits["split"],
            "Clips": splits["clips"],
            "Negative": splits["negative"],
            "Neutral": splits["neutral"],
            "Positive": splits["positive"],
            "Videos": splits["videos"],
            "Also in other splits": shared,
        }
    )
    caption = (
        "Splits. Negative, neutral, positive: clips with a score below, at and above "
        "0. Also in other splits: videos with clips elsewhere, counted once per split."
    )
    return Table.plain(frame, "data-splits", caption)


def probe_table(probes: pd.DataFrame) -> Table:
    """Tabulate linear probes, from the passports' ``probes`` tables."""
    frame = pd.DataFrame(
        {
            "Data set": [short_label(probes.loc[[i]]) for i in probes.index],
            "Features": probes["features"],
            "Width": probes["width"],
            "Test MAE (label units)": [printed("MAE", x) for x in probes["test_mae"]],
            "Test Corr": [printed("Corr", x) for x in probes["test_corr"]],
        }
    )
    tried = len(TextLinearHyper().penalties)
    places = zip(probes["dataset"], probes["view"], strict=True)
    encoders = [default_encoder(source(*place).language) for place in places]
    caption = (
        "Linear probes on complete data: ridge regressions on features standardised by "
        f"the train split, the best of {len(ALPHAS)} penalties on valid. Text: "
        f"averages of {' or '.join(dict.fromkeys(encoders))}, frozen. The system "
        "text-linear of other pages is a ridge on text as well, but standardises "
        f"nothing and tries {tried} penalties, so its scores differ. The constant is "
        f"the median of the train labels; its Corr is not defined ({MISSING})."
    )
    return replace(Table.plain(frame, "data-probes", caption), data=probes)


def probes_in_words(probes: pd.DataFrame) -> str:
    """Compare what text says alone with audio and vision, on every recorded data set.

    Parameters
    ----------
    probes : DataFrame
        The passports' tables of that name, of any data sets.
    """
    recorded = probes[probes["view"] != "synthetic"].set_index("features")
    told = []
    for key, own in recorded.groupby(["dataset", "view"], sort=False):
        text, others = own["test_corr"].reindex(["text", "audio+vision"])
        told.append(
            f"{source(*key).title} {printed('Corr', text)} against "
            f"{printed('Corr', others)}"
        )
    return (
        "Test Corr of the linear probe on text against that on audio and vision "
        f"together: {', '.join(told)}."
    )
