"""What each model is made of, as its paper describes it: one description per model.

A description names the parts of a model in the order of its paper, where each stands
in the paper, and which submodules and functions of the code are that part. The walk
(:mod:`msa.report.walk`) runs them, the picture (:mod:`msa.report.architecture`) draws
them; both take every shape from a real forward pass. The papers of MFMB-Net and
MIT-FRNet number their equations; the parts of the baselines carry the names of their
steps instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from msa.data.contract import MODALITIES

LANES = {m: (float(i), i + 1.0) for i, m in enumerate(MODALITIES)}
"""Where the modalities stand in a picture: left and right edge of each."""


@dataclass(frozen=True)
class Part:
    """A part of a model, and a box of its picture.

    Attributes
    ----------
    name : str
        Unique in its model.
    title : str
        What it is, as the picture says.
    where : str
        Where it stands in the paper.
    calls : dict of str to str
        What is run, and where that stands in the paper: submodules by name (``*`` is
        any one component), functions of ``msa.models`` as ``"module.function()"``.
    row : int
        From 1 downwards; row 0 has the inputs.
    span : tuple of float
        Left and right edge, in lanes of a modality (0 to 3).
    after : tuple of str
        Parts whose results it reads; ``"text"``, ``"audio"``, ``"vision"``: the inputs.
    shows : tuple of str
        Entries of ``calls`` whose results the picture shows; empty: what ran last.
    """

    name: str
    title: str
    where: str
    calls: Mapping[str, str]
    row: int
    span: tuple[float, float] = (0.0, 3.0)
    after: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Anatomy:
    """A model's description.

    Attributes
    ----------
    parts : tuple of Part
        In the order of the paper.
    terms : dict of str to str
        Every loss term (``*`` is any ending) and where it stands in the paper.
    reads : tuple of str
        Parts whose results the loss reads.
    code : tuple of str
        What its page shows the source of: methods of the model and of its submodules
        (``"macro.forward"``), and functions as in ``calls``.
    """

    parts: tuple[Part, ...]
    terms: Mapping[str, str]
    reads: tuple[str, ...]
    code: tuple[str, ...] = ("forward",)

    def place(self, name: str) -> tuple[Part, str] | None:
        """Return the part that a submodule or function is, and its place in the paper.

        None where the description does not name it.
        """
        for part in self.parts:
            for pattern, where in part.calls.items():
                if matches(pattern, name):
                    return part, where
        return None

    def term(self, name: str) -> str:
        """Return where a loss term stands in the paper.

        Raises
        ------
        KeyError
            If the description does not name it.
        """
        for pattern, where in self.terms.items():
            if matches(pattern, name):
                return where
        raise KeyError(f"the description has no loss term {name!r}")


def matches(pattern: str, name: str) -> bool:
    """Tell whether a name fits a pattern, in which ``*`` is any one component."""
    expression = re.escape(pattern).replace(r"\*", r"[^.]+")
    return re.fullmatch(expression, name) is not None


def _lanes(
    name: str,
    title: str,
    where: str,
    calls: Mapping[str, str],
    row: int,
    after: tuple[str, ...] = ("{m}",),
    only: tuple[str, ...] = MODALITIES,
) -> tuple[Part, ...]:
    """Make one part per modality; ``{m}`` stands for the modality everywhere."""

    def own(text: str, modality: str) -> str:
        return text.replace("{m}", modality)

    return tuple(
        Part(
            own(name, m),
            own(title, m),
            where,
            {own(key, m): place for key, place in calls.items()},
            row,
            LANES[m],
            tuple(own(key, m) for key in after),
        )
        for m in only
    )


def _all(name: str) -> tuple[str, ...]:
    return tuple(f"{name} {m}" for m in MODALITIES)


_MFMB_NET = Anatomy(
    parts=(
        *_lanes("encode {m}", "Linear map", "eq. 1", {"encode.{m}": "eq. 1"}, 1),
        Part(
            "align",
            "Hybrid parallel attention: each to itself, then to the two others",
            "eq. 2",
            {"align.align.*": "eq. 2", "align.cross.*": "eq. 2", "align": "eq. 2"},
            row=2,
            after=_all("encode"),
        ),
        Part(
            "prepare",
            "Macro: one Transformer per modality",
            "eq. 3",
            {"macro.prepare.*": "eq. 3"},
            row=3,
            span=(0, 1),
            after=("align",),
        ),
        Part(
            "carry",
            "Coarse hub through vision, audio, text",
            "eqs. 4-7",
            {"macro.carry.*": "eqs. 4-6", "macro": "eq. 7"},
            row=4,
            span=(0, 1),
            after=("prepare",),
        ),
        Part(
            "gate",
            "Micro: BiLSTM and memory gate, maximum over time",
            "eqs. 8-10",
            {
                "micro.gate.*.rnn": "eq. 8",
                "micro.gate.*.conv": "eq. 9",
                "micro.gate.*.ffn": "eq. 9",
                "micro.gate.*": "eq. 10",
            },
            row=3,
            span=(1, 2),
            after=("align",),
        ),
        Part(
            "fuse",
            "Coarse to fine: text with vision, text with audio",
            "eqs. 11-13",
            {"micro.level.*": "before eq. 11", "micro.fuse.*": "eqs. 11-13"},
            row=4,
            span=(1, 2),
            after=("gate",),
        ),
        Part(
            "rebuild",
            "Reconstruction: attention over time, feed-forward",
            "eqs. 14-15",
            {
                "rebuild.each.*.qkv": "eq. 14",
                "rebuild.each.*.ffn": "eq. 15",
                "rebuild.each.*": "eqs. 14-15",
            },
            row=3,
            span=(2, 3),
            after=("align",),
        ),
        Part(
            "compare",
            "Distance to the complete sequences, missing steps",
            "eq. 18",
            {"mfmb_net.missing_losses()": "eq. 18"},
            row=4,
            span=(2, 3),
            after=("rebuild",),
        ),
        Part(
            "predict",
            "Concatenate, one linear map",
            "eq. 16",
            {"predict": "eq. 16"},
            row=5,
            span=(0, 2),
            after=("carry", "fuse"),
        ),
    ),
    terms={"task": "eq. 17", "reconstruction_*": "eq. 18"},
    reads=("predict", "compare"),
    code=(
        "forward",
        "align.forward",
        "macro.forward",
        "micro.forward",
        "micro.gate.text.forward",
        "micro.fuse.0.forward",
        "rebuild.each.text.forward",
        "mfmb_net.missing_losses()",
    ),
)

_FRONT = (
    *_lanes("project {m}", "Convolution", "eq. 1", {"project.convs.{m}": "eq. 1"}, 1),
    Part(
        "relate",
        "Nine Transformers: each modality to itself and to the two others",
        "eqs. 2-6",
        {"relate.banks.*.*": "eqs. 2-5", "relate": "eq. 6"},
        row=2,
        after=_all("project"),
    ),
)
"""TFR-Net's front end, which MIT-FRNet restates."""


def _condense(
    span: tuple[float, float], linear: str = "eqs. 15-16", source: str = "eqs. 13-17"
) -> Part:
    return Part(
        "condense",
        "Gate encoder: BiGRU, convolutional gate, maximum over time",
        source,
        {
            "condense.*.rnn": "eq. 13",
            "condense.*.gate": "eq. 14",
            "condense.*.linear": linear,
            "condense.*": "eq. 17",
        },
        row=3,
        span=span,
        after=("relate",),
    )


def _rebuild(span: tuple[float, float]) -> Part:
    return Part(
        "rebuild",
        "Reconstruction: attention over time, linear map",
        "eqs. 7-8",
        {"rebuild.encoders.*": "eq. 7", "rebuild.linear.*": "eq. 8"},
        row=3,
        span=span,
        after=("relate",),
    )


def _classify(span: tuple[float, float]) -> Part:
    return Part(
        "classify",
        "Classifier",
        "eq. 18",
        {"classify": "eq. 18"},
        row=4,
        span=span,
        after=("condense",),
    )


_MIT_FRNET = Anatomy(
    parts=(
        *_FRONT,
        _rebuild((1, 2)),
        Part(
            "compare",
            "Similarity: a Gaussian per step, divergence between modalities",
            "eqs. 9-12, 21-22",
            {
                "compare.common.*": "section 3.3",
                "mit_frnet.resample()": "not in the paper",
                "mit_frnet.step_gaussians()": "eq. 9",
                "mit_frnet.gaussian_kl()": "eqs. 10-12, 21",
                "compare": "eq. 22",
            },
            row=3,
            span=(2, 3),
            after=("relate",),
        ),
        Part(
            "distance",
            "Distance to the complete sequences, every step",
            "eqs. 19-20",
            {"mit_frnet.losses_of_all_steps()": "eqs. 19-20"},
            row=4,
            span=(1, 2),
            after=("rebuild",),
        ),
        _condense((0, 1)),
        _classify((0, 1)),
    ),
    terms={"task": "eq. 23", "reconstruction_*": "eqs. 19-20", "similarity": "eq. 22"},
    reads=("classify", "distance", "compare"),
    code=(
        "forward",
        "relate.forward",
        "condense.text.forward",
        "condense.text.mix",
        "rebuild.encode",
        "rebuild.decode",
        "compare.forward",
        "mit_frnet.step_gaussians()",
        "mit_frnet.gaussian_kl()",
        "mit_frnet.losses_of_all_steps()",
    ),
)

_TFR_NET = Anatomy(
    parts=(
        *_FRONT,
        _rebuild((1.5, 3)),
        Part(
            "compare",
            "Distance to the complete sequences, missing steps",
            "cf. eq. 19",
            {"tfr_net.missing_losses()": "cf. eq. 19"},
            row=4,
            span=(1.5, 3),
            after=("rebuild",),
        ),
        _condense((0, 1.5), "cf. eqs. 15-16", "cf. eqs. 13-17"),
        _classify((0, 1.5)),
    ),
    terms={"task": "eq. 23", "reconstruction_*": "cf. eq. 19"},
    reads=("classify", "compare"),
    code=("forward", "relate.forward", "condense.text.forward", "condense.text.mix"),
)


def _subnetworks() -> tuple[Part, ...]:
    where = "modality embedding"
    return (
        *_lanes(
            "embed {m}",
            "LSTM, last state, linear map, a 1 in front",
            where,
            {"embed.{m}.lstm": where, "embed.{m}.linear": where, "embed.{m}": where},
            1,
            only=("text",),
        ),
        *_lanes(
            "embed {m}",
            "Mean over time, three layers, a 1 in front",
            where,
            {"embed.{m}.norm": where, "embed.{m}.layers": where, "embed.{m}": where},
            1,
            only=("audio", "vision"),
        ),
    )


_TFN = Anatomy(
    parts=(
        *_subnetworks(),
        Part(
            "outer",
            "Outer product of the three vectors",
            "tensor fusion",
            {"tfn.outer()": "tensor fusion"},
            row=2,
            after=_all("embed"),
        ),
        Part(
            "infer",
            "Three layers; a sigmoid bounds the score",
            "sentiment inference",
            {"infer": "sentiment inference"},
            row=3,
            span=(0.5, 2.5),
            after=("outer",),
        ),
    ),
    terms={"task": "absolute error"},
    reads=("infer",),
    code=("forward", "embed.forward", "tfn.outer()"),
)

_LMF = Anatomy(
    parts=(
        *_subnetworks(),
        Part(
            "fuse",
            "Low-rank fusion: project by rank factors, multiply, sum over the rank",
            "low-rank fusion",
            {
                "fuse.combine": "sum over the rank",
                "fuse": "low-rank fusion",
            },
            row=2,
            after=_all("embed"),
        ),
    ),
    terms={"task": "absolute error"},
    reads=("fuse",),
    code=("forward", "fuse.forward"),
)

_MULT = Anatomy(
    parts=(
        *_lanes(
            "conv {m}",
            "Convolution, positions",
            "temporal convolution",
            {"convs.{m}": "temporal convolution"},
            1,
        ),
        Part(
            "cross",
            "Six crossmodal Transformers: each modality attends to the two others",
            "crossmodal Transformers",
            {"cross.*": "crossmodal Transformers"},
            row=2,
            after=_all("conv"),
        ),
        *_lanes(
            "recall {m}",
            "Concatenate, Transformer, last step",
            "self-attention Transformer",
            {"recall.{m}": "self-attention Transformer"},
            3,
            after=("cross",),
        ),
        Part(
            "predict",
            "Concatenate, residual block, linear map",
            "prediction",
            {
                "mult.embed()": "positional embedding",
                "residual.*": "prediction",
                "predict": "prediction",
            },
            row=4,
            after=_all("recall"),
        ),
    ),
    terms={"task": "absolute error"},
    reads=("predict",),
    code=("forward", "mult.embed()", "cross.text.forward", "cross.text._layer"),
)

_MISA = Anatomy(
    parts=(
        *_lanes(
            "vector {m}",
            "Mean over the tokens",
            "utterance-level representations",
            {"misa.masked_mean()": "utterance-level representations"},
            1,
            only=("text",),
        ),
        *_lanes(
            "vector {m}",
            "Two BiLSTMs, their last states",
            "utterance-level representations",
            {"sequence.{m}": "utterance-level representations"},
            1,
            only=("audio", "vision"),
        ),
        Part(
            "project",
            "One width for all: linear, ReLU, layer norm",
            "utterance-level representations",
            {"project.*": "utterance-level representations"},
            row=2,
            after=_all("vector"),
        ),
        Part(
            "parts",
            "A private encoder per modality, and one shared by all: six parts",
            "modality-specific and -invariant",
            {
                "private.*": "modality-specific part",
                "shared": "modality-invariant part",
            },
            row=3,
            after=("project",),
            shows=("private.*", "shared"),
        ),
        Part(
            "attend",
            "Self-attention over the six parts",
            "fusion",
            {"attend": "fusion"},
            row=4,
            span=(0, 1),
            after=("parts",),
        ),
        Part(
            "apart",
            "Near each other, apart from each other",
            "similarity and difference losses",
            {
                "misa.spread()": "difference loss",
                "misa.difference()": "difference loss",
                "misa.cmd()": "similarity loss",
            },
            row=4,
            span=(1, 2),
            after=("parts",),
        ),
        Part(
            "rebuild",
            "Rebuild the vector from both parts",
            "reconstruction loss",
            {"rebuild.*": "reconstruction loss"},
            row=4,
            span=(2, 3),
            after=("parts",),
        ),
        Part(
            "predict",
            "Two linear maps",
            "prediction",
            {"hidden": "prediction", "predict": "prediction"},
            row=5,
            span=(0, 1),
            after=("attend",),
        ),
    ),
    terms={
        "task": "task loss (squared error)",
        "difference": "difference loss",
        "similarity": "similarity loss (CMD)",
        "reconstruction": "reconstruction loss",
    },
    reads=("predict", "apart", "rebuild"),
    code=("forward", "part_losses", "misa.cmd()", "misa.difference()"),
)

_SELF_MM = Anatomy(
    parts=(
        *_lanes(
            "vector {m}",
            "Sentence vector",
            "unimodal representations",
            {"self_mm.sentence_vector()": "unimodal representations"},
            1,
            only=("text",),
        ),
        *_lanes(
            "vector {m}",
            "LSTM, last state, linear map",
            "unimodal representations",
            {"sequence.{m}": "unimodal representations"},
            1,
            only=("audio", "vision"),
        ),
        Part(
            "tasks",
            "Four tasks, of all three concatenated and of each alone: feature, score",
            "multimodal and unimodal tasks",
            {
                "branches.fusion.*": "multimodal task",
                "branches.*.*": "unimodal tasks",
            },
            row=2,
            after=_all("vector"),
            shows=("branches.*.score",),
        ),
        Part(
            "labels",
            "Unimodal labels: from distances to the centres of past features",
            "label generation",
            {
                "label_memory.relative_distance()": "label generation",
                "label_memory.generated_label()": "label generation",
            },
            row=3,
            span=(1.2, 3),
            after=("tasks",),
        ),
    ),
    terms={"task": "multimodal task", "unimodal_*": "weighted unimodal task"},
    reads=("tasks", "labels"),
    code=(
        "vectors",
        "objective",
        "label_memory.relative_distance()",
        "label_memory.generated_label()",
    ),
)

_MMIM = Anatomy(
    parts=(
        *_lanes(
            "vector {m}",
            "Sentence vector",
            "modality encoding",
            {"mmim.sentence_vector()": "modality encoding"},
            1,
            only=("text",),
        ),
        *_lanes(
            "vector {m}",
            "BiLSTM, last states, linear map",
            "modality encoding",
            {"sequence.{m}": "modality encoding"},
            1,
            only=("audio", "vision"),
        ),
        Part(
            "vectors",
            "One vector per modality",
            "modality encoding",
            {},
            row=2,
            after=_all("vector"),
        ),
        Part(
            "fuse",
            "Fusion network: two layers, tanh",
            "fusion",
            {"fuse": "fusion"},
            row=3,
            span=(0, 1.3),
            after=("vectors",),
        ),
        Part(
            "bounds",
            "Lower bound: the text predicts audio and vision; their entropy",
            "mutual information, input level",
            {
                "bounds.*": "likelihood of the bound",
                "information.log_likelihood()": "likelihood of the bound",
                "mmim.signed_entropy()": "entropy of the bound",
            },
            row=3,
            span=(1.6, 3),
            after=("vectors",),
            shows=("bounds.*",),
        ),
        Part(
            "predict",
            "Linear map",
            "prediction",
            {"predict": "prediction"},
            row=4,
            span=(0, 0.6),
            after=("fuse",),
        ),
        Part(
            "contrast",
            "The fused vector finds each modality's",
            "mutual information, fusion level",
            {"contrast.*": "mutual information, fusion level"},
            row=4,
            span=(0.6, 1.6),
            after=("fuse", "vectors"),
        ),
    ),
    terms={
        "task": "task loss",
        "contrast": "fusion level (CPC)",
        "likelihood": "input level, likelihood",
        "entropy": "input level, entropy",
    },
    reads=("predict", "contrast", "bounds"),
    code=("objective", "fit_bound", "entropy", "contrast.text.forward"),
)


def _pooled(*modalities: str) -> Anatomy:
    return Anatomy(
        parts=(
            Part(
                "pool",
                "Mean over time, concatenated"
                if len(modalities) > 1
                else "Mean over time",
                "not in the paper",
                {"unimodal.masked_mean()": "not in the paper"},
                row=1,
                after=modalities,
            ),
            Part(
                "hidden",
                "Batch norm, hidden layer, ReLU",
                '"FC"',
                {"norm": "not in the paper", "hidden": '"FC"'},
                row=2,
                span=(0.5, 2.5),
                after=("pool",),
            ),
            Part(
                "predict",
                "Linear map",
                '"classify"',
                {"predict": '"classify"'},
                row=3,
                span=(0.5, 2.5),
                after=("hidden",),
            ),
        ),
        terms={"task": "absolute error"},
        reads=("predict",),
    )


ANATOMIES: Mapping[str, Anatomy] = {
    "MFMB-Net": _MFMB_NET,
    "MIT-FRNet": _MIT_FRNET,
    "TFR-Net": _TFR_NET,
    "TFN": _TFN,
    "LMF": _LMF,
    "MulT": _MULT,
    "MISA": _MISA,
    "Self-MM": _SELF_MM,
    "MMIM": _MMIM,
    "FC(T)": _pooled("text"),
    "FC(A)": _pooled("audio"),
    "FC(V)": _pooled("vision"),
    "Concat(V,A,T)": _pooled(*MODALITIES),
}
"""Description of every trained model, by name."""
