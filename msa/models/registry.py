"""The one list of systems: names, classes, hyper-parameters, variants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from msa.models import (
    lmf,
    mfmb_net,
    mfmb_net_released,
    misa,
    mit_frnet,
    mmim,
    mult,
    self_mm,
    tfn,
    tfr_net,
    unimodal,
)
from msa.models.base import Hyper, Model, Reference, Shapes
from msa.models.references import Constant, TextLinear, TextLinearHyper


class UnknownModel(ValueError):
    """A system, variant or hyper-parameter that does not exist."""


@dataclass(frozen=True)
class ModelEntry:
    """One system of the study.

    Attributes
    ----------
    name : str
        As tables print it.
    build : callable
        ``build(shapes, hyper)`` returns a :class:`Model` or a :class:`Reference`.
    hyper : type
        Its hyper-parameters, a subclass of :class:`Hyper`.
    source : str
        Where it is described.
    datasets : dict of str to dict
        Hyper-parameters that differ on a data set.
    tuned : dict of str to dict
        What a search on the validation split changed, by data set. It holds for the
        features of the search (the data set's default view) and no others.
    variants : dict of str to dict
        Named bundles of hyper-parameters; the first is the default.
    """

    name: str
    build: Callable[[Shapes, Any], Model | Reference]
    hyper: type[Hyper]
    source: str
    datasets: dict[str, dict] = field(default_factory=dict)
    variants: dict[str, dict] = field(default_factory=lambda: {"paper": {}})
    tuned: dict[str, dict] = field(default_factory=dict)

    @property
    def default_variant(self) -> str:
        """The variant used when none is named."""
        return next(iter(self.variants))

    @property
    def is_trained(self) -> bool:
        """Whether it is a network, and not a reference solved in closed form."""
        return isinstance(self.build, type) and issubclass(self.build, Model)

    @property
    def can_fine_tune(self) -> bool:
        """Whether it can train a text encoder: it is itself trained, and reads text."""
        return self.is_trained and "text" in self.build.modalities

    def resolve(
        self,
        dataset: str,
        variant: str,
        overrides: dict | None = None,
        *,
        tuned: bool = True,
    ) -> Any:
        """Return the validated hyper-parameters of a run.

        Later ones win: class defaults, the data set's, what was tuned on it (if
        ``tuned``), the variant's, the overrides.

        Raises
        ------
        UnknownModel
            For a variant or hyper-parameter that does not exist, or a wrong type.
        """
        if variant not in self.variants:
            known = ", ".join(self.variants)
            raise UnknownModel(
                f"{self.name} has no variant {variant!r}; it has: {known}"
            )
        values = {
            **self.datasets.get(dataset, {}),
            **(self.tuned.get(dataset, {}) if tuned else {}),
            **self.variants[variant],
            **(overrides or {}),
        }
        try:
            return self.hyper(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            known = ", ".join(self.hyper.model_fields)
            raise UnknownModel(
                f"{self.name}: hyper-parameter {name!r}: {first['msg']} "
                f"(got {first['input']!r}). Known: {known}"
            ) from error


def _on_mosi(values: dict) -> dict[str, dict]:
    """Apply what was tuned on CMU-MOSI there and on the demo set, which is like it."""
    return {"mosi": values, "demo": values}


MODELS = {
    entry.name: entry
    for entry in (
        ModelEntry(
            "MFMB-Net",
            mfmb_net.MFMBNet,
            mfmb_net.MFMBNetHyper,
            "Tao et al., AAAI 2025",
            {"sims": mfmb_net.SIMS},
            {
                "paper": {},
                "w/o F-1": {"macro": False},
                "w/o F-2": {"micro": False},
                "w/o Recon": {"reconstruction": False},
                "released": mfmb_net_released.RELEASED,
            },
            tuned={"sims": mfmb_net.TUNED_SIMS},
        ),
        ModelEntry(
            "MIT-FRNet",
            mit_frnet.MITFRNet,
            mit_frnet.MITFRNetHyper,
            "Li et al., Expert Systems with Applications 2024",
            {"sims": mit_frnet.SIMS},
            {
                "paper": {},
                "w/o MMR": {"reconstruction": False},
                "w/o MITR": {"similarity": False},
                "released": mit_frnet.RELEASED,
            },
        ),
        ModelEntry(
            "TFR-Net",
            tfr_net.TFRNet,
            tfr_net.TFRNetHyper,
            "Yuan et al., ACM Multimedia 2021",
            {"sims": tfr_net.SIMS},
            {"paper": {}, "released": tfr_net.RELEASED},
        ),
        ModelEntry(
            "TFN",
            tfn.TFN,
            tfn.TFNHyper,
            "Zadeh et al., EMNLP 2017",
            {"mosei": tfn.MOSEI, "sims": tfn.SIMS},
        ),
        ModelEntry(
            "LMF",
            lmf.LMF,
            lmf.LMFHyper,
            "Liu et al., ACL 2018",
            {"demo": lmf.MOSI, "mosi": lmf.MOSI, "mosei": lmf.MOSEI, "sims": lmf.SIMS},
            tuned=_on_mosi(lmf.TUNED_MOSI),
        ),
        ModelEntry(
            "MulT",
            mult.MulT,
            mult.MulTHyper,
            "Tsai et al., ACL 2019",
            {"mosei": mult.MOSEI, "sims": mult.SIMS},
            tuned=_on_mosi(mult.TUNED_MOSI),
        ),
        ModelEntry(
            "MISA",
            misa.MISA,
            misa.MISAHyper,
            "Hazarika et al., ACM Multimedia 2020",
            {"mosei": misa.MOSEI, "sims": misa.SIMS},
            tuned=_on_mosi(misa.TUNED_MOSI),
        ),
        ModelEntry(
            "Self-MM",
            self_mm.SelfMM,
            self_mm.SelfMMHyper,
            "Yu et al., AAAI 2021",
            {
                "demo": self_mm.MOSI,
                "mosi": self_mm.MOSI,
                "mosei": self_mm.MOSEI,
                "sims": self_mm.SIMS,
            },
        ),
        ModelEntry(
            "MMIM",
            mmim.MMIM,
            mmim.MMIMHyper,
            "Han et al., EMNLP 2021",
            {
                "demo": mmim.MOSI,
                "mosi": mmim.MOSI,
                "mosei": mmim.MOSEI,
                "sims": mmim.SIMS,
            },
            tuned=_on_mosi(mmim.TUNED_MOSI),
        ),
        *(
            ModelEntry(
                name,
                build,
                unimodal.PooledHyper,
                "MFMB-Net, Table 2",
                {"sims": unimodal.SIMS},
            )
            for name, build in (
                ("FC(T)", unimodal.TextOnly),
                ("FC(A)", unimodal.AudioOnly),
                ("FC(V)", unimodal.VisionOnly),
                ("Concat(V,A,T)", unimodal.Concatenated),
            )
        ),
        ModelEntry(
            "constant",
            Constant,
            Hyper,
            "median of the training labels",
            variants={"reference": {}},
        ),
        ModelEntry(
            "text-linear",
            TextLinear,
            TextLinearHyper,
            "ridge regression on mean-pooled frozen text features",
            variants={"reference": {}},
        ),
    )
}


def model_entry(name: str) -> ModelEntry:
    """Look a system up by name, whatever its case.

    Raises
    ------
    UnknownModel
        With the list of known names.
    """
    by_lower = {known.lower(): entry for known, entry in MODELS.items()}
    if name.lower() not in by_lower:
        raise UnknownModel(f"no model {name!r}; known: {', '.join(MODELS)}")
    return by_lower[name.lower()]
