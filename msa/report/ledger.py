"""The ledger: what the papers leave open, and what was chosen."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import pandas as pd

from msa.report.labels import slug
from msa.report.tables import Table


def ledger_table(*models: str) -> Table:
    """Tabulate where systems depart from their papers, or had to choose.

    Parameters
    ----------
    *models : str
        Models named in ``msa/models/ledger.toml``, or ``"both"`` for what concerns
        both papers. With several, a first column says which.

    Raises
    ------
    KeyError
        If the ledger has no entry for one of them.
    """
    for model in models:
        if model not in ledger_models():
            raise KeyError(f"the deviation ledger has no entry for {model!r}")
    heads = {
        "model": "System",
        "item": "Item",
        "paper": "The paper says",
        "chosen": "We chose",
        "why": "Why",
        "source": "Source",
    }
    found = [e for model in models for e in read_ledger() if e["model"] == model]
    frame = pd.DataFrame(found)[list(heads)].rename(columns=heads)
    whom = ", ".join("both papers" if m == "both" else m for m in models)
    if len(models) == 1:
        frame = frame.drop(columns="System")
    entries = "1 entry" if len(frame) == 1 else f"{len(frame)} entries"
    caption = f"Deviation ledger, {whom}: {entries}."
    return Table.plain(frame, f"ledger-{slug('-'.join(models))}", caption)


def ledger_models() -> list[str]:
    """Return the models that the deviation ledger has entries for, in its order."""
    return list(dict.fromkeys(entry["model"] for entry in read_ledger()))


def read_ledger() -> list[dict[str, str]]:
    """Return the entries of the deviation ledger, in its order."""
    text = (files("msa.models") / "ledger.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["entry"]
