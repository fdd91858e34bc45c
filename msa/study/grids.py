"""Named studies: grids of runs, ordered so that every prefix is worth having.

A study that is interrupted has stored its first runs. The order makes these a complete
table at fewer rates or seeds instead of a few finished columns of a large one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from msa.data.missing import PATTERNS, PROTOCOL_PATTERN
from msa.data.registry import FRAME_LEVEL, source, sources
from msa.models.differences import ALL, RELEASED_MODELS, changes
from msa.models.registry import model_entry
from msa.train.config import RunConfig
from msa.train.metrics import RATES

_DEFAULT = "clip-context"

SEEDS = (1111, 111, 11111)
"""Run seeds of the protocol, the first one first everywhere."""

FIVE_SEEDS = (*SEEDS, 1112, 1113)
"""Where five seeds are wanted, after the three are complete."""

RATES_BY_VALUE = (0.0, 0.5, 1.0, 0.3, 0.7, 0.1, 0.9, 0.2, 0.8, 0.4, 0.6)
"""Missing rates: both ends and the middle first, then what halves the gaps."""

CORNERS = (0.0, 0.5, 1.0)
"""Rates that get all seeds first."""

FIVE_RATES = (0.0, 0.5, 1.0, 0.3, 0.7)
"""What MOSEI gets first: its runs cost ten times those of the smaller sets."""

BASELINES = ("TFN", "LMF", "MulT", "MISA", "Self-MM", "MMIM")
"""The published systems that both papers compare with, TFR-Net aside."""

POOLED = ("FC(T)", "FC(A)", "FC(V)", "Concat(V,A,T)")
"""MFMB-Net's Table 2."""

SYSTEMS = ("constant", "text-linear", "MFMB-Net", "MIT-FRNet", "TFR-Net")
"""Both papers, their common ancestor, and the references that every table carries."""

MATRIX = (*SYSTEMS, *BASELINES, *POOLED)
"""Every system of the study: each block of the matrix has them all."""

ABLATED = {
    "MFMB-Net": ("paper", "w/o F-1", "w/o F-2", "w/o Recon"),
    "MIT-FRNet": ("paper", "w/o MMR", "w/o MITR"),
}
"""Variants of the ablation tables, the full models first."""


def _square(**values: tuple[object, object]) -> tuple[dict[str, object], ...]:
    """Combine two hyper-parameters of two values each; the published pair is first."""
    (first, one), (second, other) = values.items()
    return tuple({first: a, second: b} for a in one for b in other)


_ATTENTION = ("TFR-Net", "MIT-FRNet", "MFMB-Net")

CANDIDATES: dict[str, dict[str, tuple[dict[str, object], ...]]] = {
    "mosi": {
        "Self-MM": _square(pooled_text=(False, True), batch_size=(16, 64)),
        "MMIM": _square(pooled_text=(False, True), lr=(1e-3, 5e-4)),
        "LMF": tuple(
            {"factor_lr": values["lr"], "bound": 5.0, **values}
            for values in _square(lr=(1e-3, 2e-3), batch_size=(64, 32))
        ),
        "MISA": _square(lr=(1e-4, 5e-4), batch_size=(32, 64)),
        "TFN": _square(lr=(1e-3, 5e-4), batch_size=(32, 64)),
        "MulT": _square(lr=(2e-3, 1e-3), batch_size=(128, 64)),
        **dict.fromkeys(_ATTENTION, _square(lr=(2e-3, 1e-3), batch_size=(24, 48))),
    },
    "sims": {
        "Self-MM": _square(lr=(1e-3, 5e-4), batch_size=(32, 16)),
        "MMIM": _square(lr=(1e-3, 5e-4), batch_size=(32, 16)),
        "LMF": _square(factor_lr=(5e-4, 2e-3), batch_size=(64, 32)),
        "MISA": _square(lr=(1e-4, 5e-4), batch_size=(128, 64)),
        "TFN": _square(lr=(5e-4, 1e-3), batch_size=(32, 64)),
        "MulT": _square(lr=(2e-3, 1e-3), batch_size=(128, 64)),
        **dict.fromkeys(_ATTENTION, _square(lr=(2e-3, 5e-4), batch_size=(16, 32))),
    },
}
"""What the tuning studies choose among, by data set: four settings for every system,
the published one first. On CMU-MOSI, Self-MM's batch of 64 is the public code's: it
steps on four batches' gradients. Every value is given, so a changed default changes no
candidate. That MFMB-Net trains at half the data missing with the lower rate offered on
CH-SIMS, and not with the published one, had been seen (training and validation split,
one run) before that rate was offered to all three."""

QUICKEST_FIRST = tuple(CANDIDATES["mosi"])
"""Every published system, in the order of what a run costs."""


FILTERS = ("dataset", "model", "variant", "missing_rate", "seed")
"""What a part of a study can be asked for by."""


class UnknownStudy(ValueError):
    """A study, or a part of one, that does not exist."""


def in_view(name: str, view: str) -> str:
    """Return the name that a study has on the features of a view.

    Only ``matrix``, its parts, ``ablations`` and ``reconstruction`` have such twins.
    """
    return name if view == _DEFAULT else f"{name}-{view}"


def comparison_of(dataset: str, view: str, encoder_mode: str = "frozen") -> str:
    """Return the name of the study that compares all systems on a data set.

    Parameters
    ----------
    dataset, view : str
    encoder_mode : {"frozen", "finetune"}
        One study trains encoders along; it has the clip-context view alone.
    """
    if encoder_mode == "finetune":
        return "finetuned"
    return in_view(f"matrix-{dataset}", view)


@dataclass(frozen=True)
class Study:
    """A named grid of runs.

    Attributes
    ----------
    name : str
        As the command line takes it.
    title : str
        One line.
    description : str
        What it answers, and what it costs.
    configs : tuple of RunConfig
        The runs, the most valuable first, each once.
    """

    name: str
    title: str
    description: str
    configs: tuple[RunConfig, ...]

    def only(self, **wanted: Sequence[object] | None) -> Study:
        """Return the part of the study whose runs have one of the wanted values.

        Parameters
        ----------
        **wanted
            Values by field of ``FILTERS``; None or nothing takes all.

        Raises
        ------
        UnknownStudy
            For a value that no run of the study has, with those that there are, and
            where no run has all that is wanted.
        """
        left = self.configs
        for name, values in wanted.items():
            if not values:
                continue
            there = sorted({getattr(config, name) for config in self.configs})
            for value in values:
                if value not in there:
                    raise UnknownStudy(
                        f"study {self.name!r} has no {name} {value!r}; it has: "
                        f"{', '.join(map(str, there))}"
                    )
            left = tuple(c for c in left if getattr(c, name) in values)
        if not left:
            asked = {name: list(values) for name, values in wanted.items() if values}
            raise UnknownStudy(f"no run of study {self.name!r} has all of {asked}")
        return replace(self, configs=left)


def cells(
    models: Sequence[str],
    rates: Sequence[float],
    seeds: Sequence[int],
    **fields: object,
) -> list[RunConfig]:
    """Return every combination: for each seed all rates, for each rate all models.

    Runs on the same damaged data follow each other, so a worker damages and encodes
    it once.

    Parameters
    ----------
    models, rates, seeds : sequence
        The grid.
    **fields
        Other fields of every configuration, such as ``dataset``.
    """
    return [
        RunConfig.resolve(model=model, missing_rate=rate, seed=seed, **fields)
        for seed in seeds
        for rate in rates
        for model in models
    ]


def _released_cells(alone: bool, rates: Sequence[float], seed: int) -> list[RunConfig]:
    """Return each change of the released code alone, or the bundles of all."""
    return [
        RunConfig.resolve(model=model, missing_rate=rate, seed=seed, **_MOSI, **fields)
        for rate in rates
        for model in RELEASED_MODELS
        for name, fields in changes(model).items()
        if (name != ALL) == alone
    ]


def _demo() -> Study:
    return Study(
        name="demo",
        title="Both papers on the embedded demo set, a few epochs",
        description=(
            "The two paper models, TFR-Net and the references on synthetic data at "
            "three missing rates, one seed, few epochs: shows that everything works "
            "and says nothing about real speakers."
        ),
        configs=tuple(
            cells(SYSTEMS, CORNERS, SEEDS[:1], dataset="demo", max_epochs=DEMO_EPOCHS)
        ),
    )


def _mosi_sweep() -> Study:
    return Study(
        name="mosi-sweep",
        title="CMU-MOSI under missing data: both papers at every missing rate",
        description=(
            "The two paper models, TFR-Net and the references on CMU-MOSI "
            "(clip-context features, frozen MiniLM text) at missing rates 0.0 to 1.0: "
            "one seed at every rate first, then three seeds at 0.0, 0.5 and 1.0."
        ),
        configs=(
            *cells(SYSTEMS, RATES_BY_VALUE, SEEDS[:1], **_MOSI),
            *cells(SYSTEMS, CORNERS, SEEDS[1:], **_MOSI),
        ),
    )


def _tuning(dataset: str) -> Study:
    data = source(dataset)
    return Study(
        name=f"{dataset}-tuning",
        title=f"{data.title}: four settings of every system, to choose on validation",
        description=(
            "Four settings of each baseline, then of TFR-Net and the two paper models, "
            f"on {data.title} (clip-context features, frozen text encoder), nothing "
            "missing, one seed; the lowest validation MAE of a complete set is chosen, "
            "and test scores play no part. One system after another, the quickest "
            "first: only a complete set of settings gives a choice."
        ),
        configs=tuple(
            RunConfig.resolve(dataset=dataset, model=model, hyper=candidate)
            for model, candidates in CANDIDATES[dataset].items()
            for candidate in candidates
        ),
    )


def _mosi_baselines() -> Study:
    models = (*BASELINES, *POOLED)
    return Study(
        name="mosi-baselines",
        title="CMU-MOSI under missing data: six baselines and MFMB-Net's Table 2",
        description=(
            "The baselines and the unimodal and concatenation models on CMU-MOSI "
            "(clip-context features, frozen MiniLM text): three seeds at rate 0.0 "
            "first, then one seed at every rate, then three seeds at 0.5 and 1.0."
        ),
        configs=(
            *cells(models, CORNERS[:1], SEEDS, **_MOSI),
            *cells(models, RATES_BY_VALUE[1:], SEEDS[:1], **_MOSI),
            *cells(models, CORNERS[1:], SEEDS[1:], **_MOSI),
        ),
    )


def _lmf_cut() -> Study:
    return Study(
        name="lmf-cut",
        title="CMU-MOSI: LMF without its cut of extreme features",
        description=(
            "LMF on CMU-MOSI (clip-context features, frozen MiniLM text) with features "
            "as far out as they are, at every missing rate, one seed. The runs with "
            "the cut are in mosi-baselines."
        ),
        configs=tuple(
            cells(("LMF",), RATES_BY_VALUE, SEEDS[:1], hyper={"bound": None}, **_MOSI)
        ),
    )


RELEASED_LR = {"lr": 2e-3}
"""MFMB-Net's learning rate on CH-SIMS in its released configuration."""


def _sims_text_scale() -> Study:
    order = ("MFMB-Net", "MIT-FRNet", *QUICKEST_FIRST)
    models = tuple(dict.fromkeys(order))

    def scaled(model: str, rate: float, seed: int) -> RunConfig:
        return RunConfig.resolve(
            model=model,
            hyper=RELEASED_LR if model == "MFMB-Net" else None,
            missing_rate=rate,
            seed=seed,
            text_scale="train",
            **_SIMS,
        )

    return Study(
        name="sims-text-scale",
        title="CH-SIMS: text features centred and at unit spread",
        description=(
            "Every published system with its published setting on CH-SIMS "
            "(clip-context features, frozen e5 text), text features scaled as audio "
            "and vision are, at rates 0.5, 0.7 and 0.0 with one seed, and LMF with "
            "all three at 0.0. The runs with the features as they are, which these are "
            "compared with, are in matrix-sims; MFMB-Net's are in sims-settings."
        ),
        configs=(
            *(scaled("LMF", 0.0, seed) for seed in SEEDS),
            *(
                scaled(model, rate, SEEDS[0])
                for rate in (0.5, 0.7, 0.0)
                for model in models
                if (model, rate) != ("LMF", 0.0)
            ),
        ),
    )


def _sims_prompt() -> Study:
    return Study(
        name="sims-prompt",
        title="CH-SIMS: the text encoder's prompt never goes missing",
        description=(
            "Every system on CH-SIMS (clip-context features, frozen e5 text) at "
            "missing rate 0.5, with the tokens of the prompt always kept: three seeds, "
            "one complete before the next. The runs in which they go missing like "
            "speech are in matrix-sims."
        ),
        configs=tuple(
            RunConfig.resolve(
                model=model, missing_rate=0.5, seed=seed, spare_prompt=True, **_SIMS
            )
            for seed in SEEDS
            for model in ("text-linear", "FC(T)", "Concat(V,A,T)", *QUICKEST_FIRST)
        ),
    )


def _sims_settings() -> Study:
    others = {"MFMB-Net": RELEASED_LR, "MIT-FRNet": {"batch_size": 32}}
    return Study(
        name="sims-settings",
        title="CH-SIMS: the two papers' models with the setting that is not used",
        description=(
            "MFMB-Net with the published learning rate, in place of the one that "
            "validation chose, and MIT-FRNet with the batch that validation chose, in "
            "place of the published one, on CH-SIMS (clip-context features, frozen e5 "
            "text) at every missing rate, one seed. The runs that they are compared "
            "with are in matrix-sims."
        ),
        configs=tuple(
            RunConfig.resolve(
                model=model, hyper=hyper, missing_rate=rate, seed=SEEDS[0], **_SIMS
            )
            for rate in RATES_BY_VALUE
            for model, hyper in others.items()
        ),
    )


def _mosi_settings() -> Study:
    return Study(
        name="mosi-settings",
        title="CMU-MOSI: MIT-FRNet and TFR-Net with the learning rate that is not used",
        description=(
            "MIT-FRNet and TFR-Net with the learning rate that validation chose, "
            "0.001, in place of the published one, 0.002, on CMU-MOSI (clip-context "
            "features, frozen MiniLM text) at every missing rate, one seed. The runs "
            "that they are compared with are in mosi-sweep and matrix-mosi."
        ),
        configs=tuple(
            RunConfig.resolve(
                model=model,
                hyper={"lr": 1e-3},
                missing_rate=rate,
                seed=SEEDS[0],
                **_MOSI,
            )
            for rate in RATES_BY_VALUE
            for model in ("MIT-FRNet", "TFR-Net")
        ),
    )


def _mosi_released() -> Study:
    middle, ends = CORNERS[1:2], (CORNERS[0], CORNERS[2])
    return Study(
        name="mosi-released",
        title="CMU-MOSI: what the released code does otherwise, and what it changes",
        description=(
            "MFMB-Net, MIT-FRNet and TFR-Net as released on CMU-MOSI (clip-context "
            "features, frozen MiniLM text) at rates 0.0, 0.5 and 1.0, three seeds; "
            "then every difference alone, first at 0.5 with one seed. The paper "
            "variants that they are compared with are in mosi-sweep."
        ),
        configs=(
            *(c for seed in SEEDS for c in _released_cells(False, CORNERS, seed)),
            *(
                config
                for seed in SEEDS
                for rates in (middle, ends)
                for config in _released_cells(True, rates, seed)
            ),
        ),
    )


_MOSI = {"dataset": "mosi", "view": "clip-context", "encoder": "minilm"}
_SIMS = {"dataset": "sims", "view": "clip-context", "encoder": "e5-small-zh"}
_MOSEI = {"dataset": "mosei", "view": "clip-context", "encoder": "minilm"}
_DATA = {data["dataset"]: data for data in (_MOSI, _SIMS, _MOSEI)}

_SMALL = "three seeds at every rate, one seed complete before the next, then five"
_LARGE = (
    "one seed at 0.0, 0.3, 0.5, 0.7 and 1.0, then at every rate, then two more seeds "
    "in the same order"
)


def _small_matrix(data: dict[str, str]) -> list[RunConfig]:
    return cells(MATRIX, RATES_BY_VALUE, FIVE_SEEDS, **data)


def _large_matrix(data: dict[str, str]) -> list[RunConfig]:
    others = tuple(rate for rate in RATES_BY_VALUE if rate not in FIVE_RATES)
    steps = ((FIVE_RATES, SEEDS[:1]), (others, SEEDS[:1]))
    steps += ((FIVE_RATES, SEEDS[1:]), (others, SEEDS[1:]))
    return [c for rates, seeds in steps for c in cells(MATRIX, rates, seeds, **data)]


def _block(dataset: str, view: str) -> list[RunConfig]:
    """Return the runs of one data set; none where it has no such view."""
    if view not in {known.view for known in sources(dataset)}:
        return []
    make = _large_matrix if dataset == "mosei" else _small_matrix
    return make({**_DATA[dataset], "view": view})


def _matrix_of(dataset: str, view: str) -> Study:
    """Return the matrix of one data set."""
    data = _DATA[dataset]
    title = source(dataset, view).title
    return Study(
        name=in_view(f"matrix-{dataset}", view),
        title=f"{title}: every system at every missing rate",
        description=(
            f"Nine systems, the unimodal and concatenation models and the references "
            f"on {title} ({view} features, frozen {data['encoder']} text), missing "
            f"rates 0.0 to 1.0: {_LARGE if dataset == 'mosei' else _SMALL}."
        ),
        configs=tuple(_block(dataset, view)),
    )


def _matrix(view: str) -> Study:
    mosi, sims, mosei = (_block(dataset, view) for dataset in _DATA)
    seed = len(MATRIX) * len(RATES_BY_VALUE)  # runs of one seed at every rate
    first = len(MATRIX) * len(FIVE_RATES)
    return Study(
        name=in_view("matrix", view),
        title="Every system on CMU-MOSI, CH-SIMS and CMU-MOSEI",
        description=(
            f"The matrices of the data sets that have {view} features in one order: "
            "one seed on CMU-MOSI and CH-SIMS and at five rates on CMU-MOSEI, three "
            "seeds on the first two, the rest of CMU-MOSEI, five seeds on the first "
            "two."
        ),
        configs=(
            *mosi[:seed],
            *sims[:seed],
            *mosei[:first],
            *mosi[seed : 3 * seed],
            *sims[seed : 3 * seed],
            *mosei[first:],
            *mosi[3 * seed :],
            *sims[3 * seed :],
        ),
    )


def _ablations(view: str) -> Study:
    systems = [(model, v) for model, own in ABLATED.items() for v in own]
    return Study(
        name=in_view("ablations", view),
        title="CMU-MOSI: both papers' models without each of their parts",
        description=(
            "MFMB-Net without macro fusion, micro fusion and reconstruction, and "
            "MIT-FRNet without reconstruction and similarity, beside the full models, "
            f"on CMU-MOSI ({view} features, frozen MiniLM text): three seeds at every "
            "rate, one seed complete before the next."
        ),
        configs=tuple(
            RunConfig.resolve(
                model=model,
                variant=variant,
                missing_rate=rate,
                seed=seed,
                **{**_MOSI, "view": view},
            )
            for seed in SEEDS
            for rate in RATES_BY_VALUE
            for model, variant in systems
        ),
    )


def _finetuned() -> Study:
    models = tuple(model for model in MATRIX if model_entry(model).can_fine_tune)
    others = tuple(rate for rate in RATES_BY_VALUE if rate not in FIVE_RATES)
    return Study(
        name="finetuned",
        title="CMU-MOSI and CH-SIMS with a fine-tuned text encoder",
        description=(
            "Every trained system that reads text, its encoder trained with it: three "
            "seeds at five missing rates on both data sets, one complete before the "
            "next, then the other rates likewise. Meant for a GPU."
        ),
        configs=tuple(
            config
            for rates in (FIVE_RATES, others)
            for seed in SEEDS
            for data in (_MOSI, _SIMS)
            for config in cells(models, rates, (seed,), encoder_mode="finetune", **data)
        ),
    )


REBUILDERS = ("MFMB-Net", "MIT-FRNet", "TFR-Net")
"""Systems that reconstruct what is missing."""

NOISE_RATE = 0.5
NOISE_DRAWS = tuple(range(1, 11))
"""Seeds of each kind that ``noise`` draws."""

WHAT_IS_MISSING = tuple(name for name in PATTERNS if name != PROTOCOL_PATTERN)
"""Patterns of missing steps other than the papers' own."""


def _rates() -> Study:
    models = (*REBUILDERS, "text-linear")
    trained = [{"missing_rate": rate} for rate in (0.0, 0.5, 0.3, 0.7)]
    trained.insert(1, {"train_rates": "mixed"})
    return Study(
        name="rates",
        title="CMU-MOSI: models of one missing rate, or of all, tested at every rate",
        description=(
            "Models trained on complete data, at one missing rate, or on mixed rates, "
            "each tested at all eleven: three seeds, one complete before the next."
        ),
        configs=tuple(
            RunConfig.resolve(
                model=model, seed=seed, evaluate_rates=RATES, **how, **_MOSI
            )
            for seed in SEEDS
            for how in trained
            for model in models
        ),
    )


def _patterns() -> Study:
    models = (*REBUILDERS, "text-linear")
    asked = {"evaluate_rates": (0.5,), "evaluate_patterns": WHAT_IS_MISSING}
    return Study(
        name="patterns",
        title="CMU-MOSI: which modality is missing, and in what pattern",
        description=(
            "Models trained at missing rate 0.5 or on mixed rates, tested with half of "
            "one modality missing, with the whole of it missing, and with bursts of "
            "neighbouring steps missing: three seeds."
        ),
        configs=tuple(
            RunConfig.resolve(model=model, seed=seed, **asked, **how, **_MOSI)
            for seed in SEEDS
            for how in ({"missing_rate": 0.5}, {"train_rates": "mixed"})
            for model in models
        ),
    )


def _selection() -> Study:
    return Study(
        name="selection",
        title="CMU-MOSI: what the rule to choose a checkpoint is worth",
        description=(
            "Every published system with its scores after every epoch, at missing "
            "rates 0.0 and 0.5, three seeds: the same runs are then scored with the "
            "validation-best, the best-per-metric and the test-best checkpoint."
        ),
        configs=tuple(
            cells(
                (*REBUILDERS, *BASELINES), (0.0, 0.5), SEEDS, selection="all", **_MOSI
            )
        ),
    )


def _noise() -> Study:
    kinds = ("seed", "mask_seed", "data_order_seed")
    return Study(
        name="noise",
        title="CMU-MOSI: seeds of the run, of the masks and of the data order",
        description=(
            "Ten draws each of the run's seed, the mask seed and the order of the "
            "data, the other two held fixed, for every published system at missing "
            "rate 0.5: one system after another, the quickest first, because only a "
            "complete set of draws gives a spread."
        ),
        configs=tuple(
            RunConfig.resolve(
                model=model,
                missing_rate=NOISE_RATE,
                **{"data_order_seed": SEEDS[0], "seed": SEEDS[0], kind: draw},
                **_MOSI,
            )
            for model in QUICKEST_FIRST
            for draw in NOISE_DRAWS
            for kind in kinds
        ),
    )


def _reconstruction(view: str) -> Study:
    return Study(
        name=in_view("reconstruction", view),
        title="CMU-MOSI: does reconstruction reconstruct?",
        description=(
            "How well the systems that reconstruct rebuild the missing steps of the "
            f"test split ({view} features), against zeros, the training mean and the "
            "last value: trained and tested at five missing rates, three seeds."
        ),
        configs=tuple(
            cells(
                REBUILDERS,
                (0.5, 0.1, 0.9, 0.3, 0.7),
                SEEDS,
                reconstruction_error=True,
                **{**_MOSI, "view": view},
            )
        ),
    )


DEMO_EPOCHS = 5
"""Epochs of the demo study: enough to see the loss fall."""

# Studies that run on whatever features are there, by the name they have on the default.
_ON_ANY_VIEW: dict[str, Callable[[str], Study]] = {
    "matrix": _matrix,
    "matrix-mosi": partial(_matrix_of, "mosi"),
    "matrix-sims": partial(_matrix_of, "sims"),
    "matrix-mosei": partial(_matrix_of, "mosei"),
    "ablations": _ablations,
    "reconstruction": _reconstruction,
}

_STUDIES: dict[str, Callable[[], Study]] = {
    "demo": _demo,
    "mosi-sweep": _mosi_sweep,
    **{f"{name}-tuning": partial(_tuning, name) for name in CANDIDATES},
    "mosi-baselines": _mosi_baselines,
    "lmf-cut": _lmf_cut,
    "sims-settings": _sims_settings,
    "mosi-settings": _mosi_settings,
    "sims-text-scale": _sims_text_scale,
    "sims-prompt": _sims_prompt,
    "mosi-released": _mosi_released,
    **{name: partial(make, _DEFAULT) for name, make in _ON_ANY_VIEW.items()},
    "finetuned": _finetuned,
    "rates": _rates,
    "patterns": _patterns,
    "selection": _selection,
    "noise": _noise,
    **{
        in_view(name, view): partial(make, view)
        for view in FRAME_LEVEL
        for name, make in _ON_ANY_VIEW.items()
        if (name, view) != ("matrix-sims", "aligned")  # no such file exists
    },
}


def study_names() -> list[str]:
    """Return the names of all studies."""
    return list(_STUDIES)


@cache
def study(name: str) -> Study:
    """Look a study up.

    Raises
    ------
    UnknownStudy
        With the list of known names.
    """
    if name not in _STUDIES:
        raise UnknownStudy(f"no study {name!r}; known: {', '.join(_STUDIES)}")
    return _STUDIES[name]()
