"""The differences between paper and released code, as ``released.toml`` lists them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Difference:
    """One thing that the released code does otherwise.

    Attributes
    ----------
    models : tuple of str
        Whose code.
    switch : dict of str to object
        Hyper-parameters that turn it on.
    name, source, paper, released : str
        What it is called, where the paper speaks of it, what the paper and the code do.
    """

    models: tuple[str, ...]
    switch: dict[str, object]
    name: str
    source: str
    paper: str
    released: str


@cache
def differences(model: str | None = None) -> tuple[Difference, ...]:
    """Return the differences, of one model or of all, in the order of the file."""
    file = Path(__file__).with_name("released.toml")
    listed = tomllib.loads(file.read_text("utf-8"))["difference"]
    found = (
        Difference(tuple(entry.pop("models")), entry.pop("set"), **entry)
        for entry in listed
    )
    return tuple(each for each in found if model is None or model in each.models)


ALL = "all of them"
"""What the bundle of a model's differences is called."""

RELEASED_MODELS = ("MFMB-Net", "MIT-FRNet", "TFR-Net")
"""The systems whose released code differs from their equations."""


def changes(model: str) -> dict[str, dict[str, object]]:
    """Return the changes of a model: name to the fields of a run that makes it."""
    alone = {each.name: {"hyper": each.switch} for each in differences(model)}
    return {ALL: {"variant": "released"}, **alone}
