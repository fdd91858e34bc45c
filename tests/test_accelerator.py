"""On an accelerator a training step asks nothing of the host.

That holds for every trained model and its released variant. One switch is known to ask,
MISA's ``text_length``, which no variant has; single switches are not tried here.

There is none here. PyTorch's ``meta`` device takes its place: like a GPU it is not the
CPU, so the models take the same path; its tensors have no values, so whatever would
wait for one (``item()``, ``if tensor:``, ``nonzero()``, a copy to the host) raises.
"""

import pytest
import torch
from economy import of_many
from test_models import OURS, WHOLE, build, make_batch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from msa.data.text import TextEncoder
from msa.models.base import Shape
from msa.models.finetune import FineTuned
from msa.models.registry import model_entry
from msa.train.batches import DeviceSplit

# In one process: the first use of ``meta`` loads much.
pytestmark = pytest.mark.xdist_group("meta")

SHAPES = {"text": Shape(3, 6), "audio": Shape(2, 4), "vision": Shape(2, 3)}
LENGTHS = [(3, 2, 1), (2, 1, 2), (3, 1, 2)]
DEVICE = "meta"


class OneDevice(TorchDispatchMode):
    """Refuses operations that mix devices, but for single numbers of the host."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        tensors = [
            leaf
            for leaf in tree_leaves((args, kwargs))
            if isinstance(leaf, torch.Tensor)
        ]
        if len({tensor.device.type for tensor in tensors if tensor.dim()}) > 1:
            raise RuntimeError(f"{operation} mixes devices")
        return operation(*args, **(kwargs or {}))


def device_split(rate, ids=None):
    """A split of random samples; with token ids it has no text features."""
    batch = make_batch(LENGTHS, SHAPES, rate)
    if ids:
        del batch.inputs["text"], batch.targets["text"]
    sequences = (batch.inputs, batch.targets, batch.mask, batch.missing)
    return DeviceSplit("train", *sequences, batch.labels, {}, ids or {}, DEVICE)


def step(model, hyper, split):
    """Train on a batch of the split in each stage of an epoch, then predict."""
    with OneDevice():
        model.begin_training(split.labels)
        for stage in model.stages(hyper):
            batch = split.batch(torch.tensor([2, 0]), model.trims_padding)
            # From the second epoch on every term of every model counts.
            stage.objective(batch, 2)[0].backward()
            changed = [p for group in stage.groups for p in group["params"]]
            if hyper.clip_value is not None:
                torch.nn.utils.clip_grad_value_(changed, hyper.clip_value)
            if hyper.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(changed, hyper.clip_norm)
        with torch.no_grad():
            return model.eval()(split.whole()).prediction


def shallow(name, variant):
    """A model with two layers where it has more: a third takes no other way."""
    entry = model_entry(name)
    hyper = entry.resolve("mosi", variant)
    few = {key: min(value, 2) for key, value in hyper if key.endswith("layers")}
    return entry, entry.resolve("mosi", variant, few)


@pytest.mark.parametrize(
    ("name", "variant"),
    of_many(WHOLE, lambda name, variant: name in (*OURS, "Self-MM")),
)
def test_a_step_on_an_accelerator_asks_nothing_of_the_host(name, variant):
    entry, hyper = shallow(name, variant)
    model = entry.build(SHAPES, hyper).to(DEVICE)
    prediction = step(model, hyper, device_split(0.5))
    assert (prediction.device.type, prediction.shape) == (DEVICE, (3,))


def test_the_switch_that_is_known_to_ask_does():
    entry = model_entry("MISA")
    hyper = entry.resolve("mosi", "paper", {"text_length": True})
    with pytest.raises(NotImplementedError, match="nonzero"):
        step(entry.build(SHAPES, hyper).to(DEVICE), hyper, device_split(0.5))


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: x + torch.zeros(x.shape),
    ],
    ids=["a number", "a choice by value", "a copy", "a tensor of the host"],
)
def test_what_asks_the_host_is_noticed(ask):
    model = build("LMF", "paper", shapes=SHAPES).to(DEVICE)
    forward = model.forward

    def asking(batch):
        outputs = forward(batch)
        ask(outputs.prediction)
        return outputs

    model.forward = asking
    hyper = model_entry("LMF").resolve("mosi", "paper")
    with pytest.raises(
        (RuntimeError, NotImplementedError), match=r"(meta|Meta|devices)"
    ):
        step(model, hyper, device_split(0.5))


def test_a_fine_tuned_encoder_asks_nothing_of_the_host():
    text = TextEncoder("minilm")
    shapes = {**SHAPES, "text": Shape(3, text.width)}
    model = FineTuned(text, build("MIT-FRNet", "paper", shapes=shapes)).to(DEVICE)
    ids = torch.tensor([[101, 7, 102], [101, 102, 0], [101, 8, 102]])
    split = device_split(0.5, {"damaged": ids, "complete": ids})
    step(model, model_entry("MIT-FRNet").resolve("mosi", "paper"), split)
