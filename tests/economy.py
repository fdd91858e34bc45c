"""What keeps the tests short: shallow models, and products that are tried in part."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

_ONE = {"self_layers": 1, "cross_layers": 1}
SHALLOW = {
    "MFMB-Net": {**_ONE, "macro_layers": 1},
    "MIT-FRNet": {**_ONE, "reconstruction_layers": 1},
    "TFR-Net": {**_ONE, "reconstruction_layers": 1, "gate_layers": 1},
    "MulT": {"layers": 1},
}
"""One layer where the paper stacks several: the way from the data to the score is the
same, and a step costs a third."""


def of_many(cases: Iterable, usual: Callable[..., bool]) -> list:
    """Leave the cases that are not usual to ``make all-combinations``.

    Of a product of systems, shapes and rates ``make test`` tries what tells most.
    ``usual`` is asked with the values of a case.
    """
    chosen = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        marks = () if usual(*values) else pytest.mark.exhaustive
        chosen.append(pytest.param(*values, marks=marks))
    return chosen
