"""The audit of the two papers: every table of it, computed once and kept.

The tables are shared: take a copy before changing one.
"""

from __future__ import annotations

from functools import cache

import pandas as pd

from msa.audit import (
    checks,
    consistency,
    constants,
    data_statistics,
    derived,
    f1,
    granularity,
    has0_non0,
    noise_floor,
)
from msa.audit import claims as claims_module
from msa.audit.labels import Labels, read_labels
from msa.audit.tidy import prepare, with_code_paths
from msa.data.published import published


@cache
def cells() -> pd.DataFrame:
    """Return all printed cells, prepared for the checks."""
    return prepare(with_code_paths(published()))


@cache
def labels() -> Labels:
    """Return the labels of every split of the papers' data sets."""
    return read_labels()


@cache
def findings(check: str | None = None) -> pd.DataFrame:
    """Return the findings of one check, or of all."""
    if check is not None:
        return checks.audit(with_code_paths(published()), labels(), [check])
    parts = [findings(name) for name in checks.CHECKS]
    return pd.concat(parts, ignore_index=True)


@cache
def granularity_by_model() -> pd.DataFrame:
    """Return attained and expected shares, see :mod:`msa.audit.granularity`."""
    return granularity.granularity_by_model(cells(), labels())


@cache
def neutral_counts() -> pd.DataFrame:
    """Return neutral clips predicted non-negative, see :mod:`msa.audit.has0_non0`."""
    return has0_non0.neutral_counts(cells(), labels())


@cache
def constant_scores() -> pd.DataFrame:
    """Return scores of constant predictors, see :mod:`msa.audit.constants`."""
    return constants.constant_scores(labels())


@cache
def majority_shares() -> pd.DataFrame:
    """Return the best constant accuracies, see :mod:`msa.audit.constants`."""
    return constants.majority_shares(labels())


@cache
def f1_pairs() -> pd.DataFrame:
    """Return F1 beside accuracy, see :mod:`msa.audit.f1`."""
    return f1.f1_pairs(cells(), labels())


@cache
def f1_systems() -> pd.DataFrame:
    """Return the reading of F1 by system, see :mod:`msa.audit.f1`."""
    return f1.systems(f1_pairs())


@cache
def rankings() -> pd.DataFrame:
    """Return mean ranks with and without F1, see :mod:`msa.audit.f1`."""
    return f1.rankings(cells(), labels())


@cache
def derived_scores() -> pd.DataFrame:
    """Return AUILC and MWA of every system, see :mod:`msa.audit.derived`."""
    return derived.derived_scores(cells())


@cache
def claims() -> pd.DataFrame:
    """Return the checked claims of the texts, see :mod:`msa.audit.claims`."""
    return claims_module.claims(cells())


@cache
def noise() -> pd.DataFrame:
    """Return the noise floor by metric, see :mod:`msa.audit.noise_floor`."""
    return noise_floor.noise_floor(cells())


@cache
def gains() -> pd.DataFrame:
    """Return the claimed gains, see :mod:`msa.audit.noise_floor`."""
    return noise_floor.claimed_gains(cells())


@cache
def twin_differences() -> pd.DataFrame:
    """Return the differences of the two rows of one system, metric by metric."""
    return noise_floor.row_differences(cells(), *noise_floor.TWINS)


@cache
def gains_over_twin() -> pd.DataFrame:
    """Return the differences of MIT-FRNet's own row to the printed TFR-Net row."""
    return noise_floor.row_differences(cells(), noise_floor.TWINS[0], noise_floor.FULL)


@cache
def wins() -> pd.DataFrame:
    """Return how often own models are best, see :mod:`msa.audit.noise_floor`."""
    return noise_floor.wins(cells())


@cache
def steadiness() -> pd.DataFrame:
    """Return how gains scatter, see :mod:`msa.audit.noise_floor`."""
    return noise_floor.steadiness(cells())


@cache
def arrow_signs() -> pd.DataFrame:
    """Return ablation arrows and differences, see :mod:`msa.audit.consistency`."""
    return consistency.arrow_signs(cells())


@cache
def class_table() -> pd.DataFrame:
    """Return class counts by split, see :mod:`msa.audit.data_statistics`."""
    return data_statistics.class_table(labels())
