"""The walk from a paper's equations to the code: run once, every shape printed.

A model is built, a real batch of the demo set is sent through its training objective,
and every part that its description (:mod:`msa.report.anatomy`) names is written down
as it runs: what comes in, what goes out.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import json
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from unittest import mock

import pandas as pd
import torch
from IPython.display import Markdown
from torch import Tensor

from msa.data.contract import MODALITIES, SPLITS
from msa.data.load import load
from msa.data.registry import source
from msa.data.text import default_encoder
from msa.models.base import Batch, Model, Shapes
from msa.models.registry import model_entry
from msa.models.steps import Steps
from msa.report.anatomy import ANATOMIES, Anatomy, Part
from msa.report.labels import slug
from msa.report.tables import Table
from msa.train.batches import DeviceSplit, prepare, shapes_of
from msa.train.config import RunConfig

CLIPS = 13
"""Clips of the batch: a prime, so that its multiples are recognised in a shape."""

RATE = 0.5
"""Missing rate of the batch."""

SEED = 1111
"""Of the initialisation and of dropout."""

_MULTIPLES = range(2, 7)


@dataclass(frozen=True)
class Call:
    """One call of a submodule or of a function, as it happened.

    Attributes
    ----------
    part : Part
        The part of the description it belongs to.
    where : str
        Where it stands in the paper.
    name : str
        Of the submodule or function.
    kind : str
        Class of the submodule; empty for functions.
    came, went : tuple
        Shapes of the tensors that came in and went out, each a tuple of int.
    """

    part: Part
    where: str
    name: str
    kind: str
    came: tuple[tuple[int, ...], ...]
    went: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Walk:
    """A model's walk.

    Attributes
    ----------
    name : str
        Of the model.
    anatomy : Anatomy
    model : Model
    batch : Batch
        The demo batch it was run on.
    calls : tuple of Call
        In the order in which they ended: a part comes after the parts inside it.
    terms : dict of str to float
        Loss terms of the untrained model on the batch, unweighted.
    """

    name: str
    anatomy: Anatomy
    model: Model
    batch: Batch
    calls: tuple[Call, ...]
    terms: dict[str, float]


@functools.lru_cache(maxsize=1)
def demo_clips() -> tuple[DeviceSplit, Shapes]:
    """Return the first training clips of the demo set, and their shapes.

    Damaged at ``RATE``. Not standardised: only shapes are of interest here.
    """
    data = load("demo", standardise=False)
    train = data.splits["train"]
    few = {
        key: value[:CLIPS]
        for key, value in vars(train).items()
        if isinstance(value, Tensor | tuple)
    }
    few["modality_labels"] = {m: x[:CLIPS] for m, x in train.modality_labels.items()}
    data = replace(data, splits=dict.fromkeys(SPLITS, replace(train, **few)))
    encoder = default_encoder(data.source.language)
    splits = prepare(data, encoder=encoder, encoder_mode="frozen", missing_rate=RATE)
    return splits["train"], shapes_of(data, encoder)


@functools.lru_cache
def walk(name: str, variant: str | None = None) -> Walk:
    """Send the demo batch through a model's training objective.

    Parameters
    ----------
    name : str
        A trained model of the registry.
    variant : str, optional
        Its default when left out.
    """
    torch.set_num_threads(1)  # a batch is small, and other work may share the cores
    clips, shapes = demo_clips()
    entry = model_entry(name)
    hyper = entry.resolve("demo", variant or entry.default_variant)
    torch.manual_seed(SEED)
    model: Model = entry.build(shapes, hyper)
    anatomy = ANATOMIES[entry.name]
    batch = clips.batch(torch.arange(len(clips)), model.trims_padding)
    model.begin_training(batch.labels)
    # Two epochs before: what a model remembers of them, and has made of it, is there.
    for epoch in (1, 2):
        model.objective(batch, epoch)
    calls: list[Call] = []
    with _watched(model, anatomy, calls):
        _, terms = model.objective(batch, 3)
    values = {key: value.item() for key, value in terms.items()}
    return Walk(entry.name, anatomy, model, batch, tuple(calls), values)


@contextmanager
def _watched(model: Model, anatomy: Anatomy, calls: list[Call]) -> Iterator[None]:
    """Write down what runs while the context is open."""

    def note(name: str, kind: str, came: object, went: object) -> None:
        part, where = anatomy.place(name)
        calls.append(Call(part, where, name, kind, shapes_in(came), shapes_in(went)))

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if anatomy.place(name) is not None:
                kind = type(module).__name__
                hook = functools.partial(_hook, note, name, kind)
                stack.callback(module.register_forward_hook(hook).remove)
        for name in functions_of(anatomy):
            module, attribute = _home(name)
            noted = functools.partial(_noted, note, name, getattr(module, attribute))
            stack.enter_context(mock.patch.object(module, attribute, noted))
        yield


def _hook(
    note: Callable, name: str, kind: str, module: object, came: object, went: object
) -> None:
    note(name, kind, came, went)


def _noted(note: Callable, name: str, function: Callable, *came: object) -> object:
    went = function(*came)
    note(name, "", came, went)
    return went


def functions_of(anatomy: Anatomy) -> list[str]:
    """Return the functions that a description names, as ``"module.function()"``."""
    named = [key for part in anatomy.parts for key in part.calls]
    return [key for key in named if key.endswith("()")]


def shapes_in(value: object) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of all tensors in a value, in order; masks are left out."""
    if isinstance(value, Tensor):
        return () if value.dtype == torch.bool else (tuple(value.shape),)
    if isinstance(value, Batch):
        return shapes_in(value.inputs)
    if isinstance(value, Steps) or not isinstance(value, dict | list | tuple):
        return ()
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=_modality_order)]
    return tuple(shape for item in value for shape in shapes_in(item))


def _modality_order(key: str) -> int:
    return MODALITIES.index(key) if key in MODALITIES else len(MODALITIES)


# --- in words -------------------------------------------------------------------------


def symbols(batch: Batch) -> dict[int, str]:
    """Return what a size in a shape means: B clips, P real steps, T padded ones."""
    clips = len(batch.labels)
    found = {clips: "B"}
    for m in MODALITIES:
        found[len(batch.steps[m].rows)] = "P"
        found[batch.mask[m].shape[1]] = "T"
    base = dict(found)
    for k in _MULTIPLES:
        found.setdefault(k * clips, f"{k}B")
        for size, symbol in base.items():
            if symbol == "P":
                found.setdefault(size + k * clips, f"P+{k}B")
    return found


def in_symbols(shape: tuple[int, ...], known: dict[int, str]) -> str:
    """Return a shape such as ``(P, 30)``; the last of several sizes stays a number."""
    if not shape:
        return "scalar"
    head = [known.get(n, str(n)) for n in (shape[:-1] if len(shape) > 1 else shape)]
    tail = [str(shape[-1])] if len(shape) > 1 else []
    return f"({', '.join(head + tail)})"


def in_numbers(shapes: tuple[tuple[int, ...], ...]) -> str:
    """Return shapes such as ``(141, 30) (96, 30)``; equal neighbours are counted."""
    return counted([f"({', '.join(map(str, s))})" if s else "scalar" for s in shapes])


def counted(words: list[str]) -> str:
    """Join words; several equal ones in a row become ``3 × word``."""
    out: list[tuple[int, str]] = []
    for word in words:
        if out and out[-1][1] == word:
            out[-1] = (out[-1][0] + 1, word)
        else:
            out.append((1, word))
    return ", ".join(word if n == 1 else f"{n} × {word}" for n, word in out)


def batch_in_words(batch: Batch) -> str:
    """Say what the batch is, with its sizes."""
    steps = ", ".join(
        f"{m} P = {len(batch.steps[m].rows)} real steps (T = {batch.mask[m].shape[1]})"
        for m in MODALITIES
    )
    return (
        f"B = {len(batch.labels)} training clips of the synthetic demo set at missing "
        f"rate {RATE:g}; {steps}. Sequences travel packed, one row per real step."
    )


def calls_table(found: Walk) -> Table:
    """Tabulate the calls of a walk, in order."""
    rows, before = [], None
    for call, group in itertools.groupby(found.calls):
        times = len(list(group))
        rows.append(
            {
                "Paper": call.where,
                "Step": "" if call.part is before else call.part.title,
                "In the code": f"{call.name}: {call.kind}" if call.kind else call.name,
                "Comes in": in_numbers(call.came),
                "Goes out": in_numbers(call.went),
                "Times": str(times),
            }
        )
        before = call.part
    frame = pd.DataFrame(rows)
    if (frame["Times"] == "1").all():
        frame = frame.drop(columns="Times")
    caption = (
        f"{found.name}, one training step, every named part as it ran. "
        f"{batch_in_words(found.batch)}"
    )
    return Table.plain(frame, f"walk-{slug(found.name)}", caption)


def terms_table(found: Walk) -> Table:
    """Tabulate the loss terms: weight, and value before any training."""
    weights = found.model.loss_weights
    frame = pd.DataFrame(
        {
            "Term": list(found.terms),
            "Paper": [found.anatomy.term(name) for name in found.terms],
            "Weight": [float(weights[name]) for name in found.terms],
            "Value, untrained": list(found.terms.values()),
        }
    )
    caption = f"Loss terms of {found.name} on the same batch, before any training."
    return Table.plain(frame, f"terms-{slug(found.name)}", caption)


def source_of(found: Walk) -> Markdown:
    """Show the code that the model's description names, each piece with its place."""
    return Markdown("\n\n".join(_piece(found.model, key) for key in found.anatomy.code))


def _piece(model: Model, key: str) -> str:
    if key.endswith("()"):
        kind = getattr(*_home(key))
        code, title = kind, kind.__name__
    else:
        path, _, method = key.rpartition(".")
        kind = type(model.get_submodule(path))
        code = getattr(kind, method)
        title = f"{kind.__name__}.{method}"
    place = f"{kind.__module__.replace('.', '/')}.py"
    source = textwrap.dedent(inspect.getsource(code))
    return f"`{title}` in `{place}`:\n\n```python\n{source}```"


def _home(name: str) -> tuple[ModuleType, str]:
    """Return the module of a function and its name there."""
    place, _, attribute = name.removesuffix("()").rpartition(".")
    return importlib.import_module(f"msa.models.{place}"), attribute


def variants_table(*names: str) -> Table:
    """Tabulate the variants of models, what they switch, and how to train them."""
    rows, commands = [], {}
    for name in names:
        entry = model_entry(name)
        for variant, switched in entry.variants.items():
            config = RunConfig.resolve(
                dataset="mosi", model=entry.name, variant=variant, missing_rate=RATE
            )
            commands[len(rows)] = [config.command()]
            changes = [f"{key}={json.dumps(value)}" for key, value in switched.items()]
            rows.append(
                {
                    "System": entry.name,
                    "Variant": variant,
                    "Switches": ", ".join(changes) or "none: the default",
                }
            )
    caption = (
        f"Variants, and the command that trains each on {source('mosi').title} at "
        f"missing rate {RATE:g}."
    )
    table = Table.plain(pd.DataFrame(rows), f"variants-{slug(names[0])}", caption)
    return replace(table, commands=commands)


def settings_table(name: str) -> Table:
    """Tabulate a model's hyper-parameters on each data set.

    What is off everywhere is left out, and so is what belongs to it by its name:
    ``wide_head_dropout`` without ``wide_head``.
    """
    entry = model_entry(name)
    columns = {
        title: entry.resolve(dataset, entry.default_variant).model_dump(mode="json")
        for dataset, title in (("mosi", "MOSI"), ("mosei", "MOSEI"), ("sims", "SIMS"))
    }
    frame = pd.DataFrame(columns)
    rows = frame.T.to_dict("list")
    off = [k for k, row in rows.items() if all(x is None or x is False for x in row)]
    parts = tuple(f"{key}_" for key in off)
    kept = [key for key in rows if key not in off and not key.startswith(parts)]
    frame = frame.loc[kept].map(json.dumps).rename_axis("Setting").reset_index()
    caption = (
        f"Hyper-parameters of {entry.name} by data set; what is off is left out, with "
        "what belongs to it."
    )
    return Table.plain(frame, f"settings-{slug(entry.name)}", caption)
