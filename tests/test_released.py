"""Released variants: every switch alone and all together, and what each one does."""

import math

import pytest
import torch
from economy import SHALLOW, of_many
from test_models import LENGTHS, SHAPES, make_batch, rows_of

from msa.models.attention import causal_bias
from msa.models.blocks import BatchAxisReconstruction, SequenceSwitches
from msa.models.mfmb_net_released import Repeated
from msa.models.mit_frnet import GaussianToMean
from msa.models.registry import MODELS, model_entry
from msa.models.steps import Steps
from msa.models.transformer import EncoderBank, embed
from msa.train.config import RunConfig
from msa.train.run import run, splits_of
from msa.train.trainer import _Pass

FAMILY = ("MFMB-Net", "MIT-FRNet", "TFR-Net")
SWITCHES = [
    (name, switch, value)
    for name in FAMILY
    for switch, value in MODELS[name].variants["released"].items()
    if switch not in ("running_sum", "drop_last")  # the trainer's, tested below
]


def build(name, variant="paper", **switches):
    torch.manual_seed(0)
    entry = model_entry(name)
    return entry.build(SHAPES, entry.resolve("mosi", variant, switches))


def layout(model):
    return {name: weight.shape for name, weight in model.state_dict().items()}


def eval_total(model, batch, epoch):
    """The objective without dropout, so that nothing but a switch changes it."""
    return model.eval().objective(batch, epoch)[0]


@pytest.mark.parametrize(("name", "switch", "value"), SWITCHES)
def test_each_switch_alone_changes_the_layers_or_the_objective(name, switch, value):
    batch = make_batch(LENGTHS)
    few = SHALLOW[name]
    plain, model = build(name, **few), build(name, **few, **{switch: value})
    total, _ = model.objective(batch, 2)
    total.backward()
    assert torch.isfinite(total)
    if (name, switch) == ("MFMB-Net", "skip_zero_positions"):
        # Behind a bias no step is exactly 0; only the zero hub is, further down.
        model.load_state_dict(plain.state_dict())
        assert torch.equal(eval_total(model, batch, 2), eval_total(plain, batch, 2))
        hub = {**few, "zero_hub": True, "shared_encoder": True}
        plain, model = build(name, **hub), build(name, **hub, **{switch: value})
    if layout(model) != layout(plain):
        return
    model.load_state_dict(plain.state_dict())
    epoch = 1 if switch == "late_losses" else 2
    changed = eval_total(model, batch, epoch)
    assert not torch.equal(changed, eval_total(plain, batch, epoch))
    # The comparison can tell: the same model twice gives the same number.
    assert torch.equal(changed, eval_total(model, batch, epoch))


@pytest.mark.parametrize("name", FAMILY)
def test_a_switch_that_is_off_by_default_is_named_in_the_bundle(name):
    entry = model_entry(name)
    off = {k for k, v in entry.hyper().model_dump().items() if v is False}
    if name != "MFMB-Net":
        off -= {"drop_last"}  # the two others use the incomplete batch
    assert off <= set(entry.variants["released"])


def test_the_bundle_reaches_the_released_width_of_the_head():
    assert build("MFMB-Net", "released").predict.norm.num_features == 450


def test_one_encoder_serves_all_roles_of_the_released_macro_stream():
    macro = build("MFMB-Net", "released").macro
    encoders = {id(r.encoder) for r in macro.modules() if isinstance(r, Repeated)}
    assert len(encoders) == 1
    assert macro.prepare["text"].times == 0
    assert macro.carry["text"].times == 2


def test_a_causal_bias_lets_a_step_see_what_is_not_later():
    seen = causal_bias(2, 4, torch.device("cpu"))[0, 0] == 0
    assert seen.tolist() == [[True, True, True, False], [True] * 4]
    same = causal_bias(3, 3, torch.device("cpu"))[0, 0] == 0
    assert same.tolist() == torch.ones(3, 3).tril().bool().tolist()


def test_a_causal_encoder_ignores_what_comes_later():
    torch.manual_seed(0)
    bank = EncoderBank(1, 6, 2, 2, (0.0,), causal=True).eval()
    steps = Steps(torch.ones(1, 4, dtype=torch.bool))
    x = torch.randn(4, 6)
    later = x.clone()
    later[3] *= -1
    torch.testing.assert_close(bank(x, steps)[0, :3], bank(later, steps)[0, :3])
    assert not torch.allclose(bank(x, steps)[0, 3], bank(later, steps)[0, 3])


@pytest.mark.parametrize("name", FAMILY)
def test_padding_is_attended_to_only_if_the_switch_says_so(name):
    short = rows_of(make_batch(LENGTHS), [1])
    changed = rows_of(make_batch(LENGTHS), [1])
    # What stands at padding is 0 by contract; anything else there must be seen.
    changed.inputs["text"][0, 3:] = 1.0
    masked, attending = build(name).eval(), build(name, attend_padding=True).eval()
    assert torch.equal(masked(short).prediction, masked(changed).prediction)
    assert not torch.equal(attending(short).prediction, attending(changed).prediction)


def test_a_step_that_starts_with_zero_gets_no_position():
    steps = Steps(torch.ones(1, 2, dtype=torch.bool))
    x = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    codes = embed(x, steps, 0.0, False, skip_zeros=True) - math.sqrt(2) * x
    plain = embed(x, steps, 0.0, False) - math.sqrt(2) * x
    assert codes[0].tolist() == [0.0, 0.0]
    torch.testing.assert_close(codes[1], plain[1])


def test_the_released_reconstruction_mixes_samples_and_only_earlier_ones():
    torch.manual_seed(0)
    rebuild = BatchAxisReconstruction(SHAPES, 6, 1)
    steps = {
        m: Steps(torch.ones(3, s.steps, dtype=torch.bool)) for m, s in SHAPES.items()
    }
    x = {m: torch.randn(3 * s.steps, 6) for m, s in SHAPES.items()}
    before = rebuild(x, steps)["text"].view(3, -1)
    x["text"] = x["text"].clone()
    x["text"][20:40] += torch.randn(20, 6)  # the second sample
    after = rebuild(x, steps)["text"].view(3, -1)
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])
    assert not torch.allclose(before[2], after[2])


def test_the_released_reconstruction_has_heads_that_divide_the_length():
    bank = BatchAxisReconstruction(SHAPES, 6, 1).encoders["text"].bank
    assert bank.heads == 5  # gcd of 25 and 20 steps


def test_the_released_similarity_by_hand():
    shapes = {m: s._replace(steps=2) for m, s in SHAPES.items()}
    term = GaussianToMean(shapes, 2)
    for m in SHAPES:
        with torch.no_grad():
            term.common[m].weight.copy_(torch.eye(2))
            term.common[m].bias.zero_()
    steps = {m: Steps(torch.ones(1, 2, dtype=torch.bool)) for m in SHAPES}
    # One channel over two steps: text (0, 2), audio (2, 4), vision (4, 6); the mean is
    # (2, 4), its unbiased variance 2; distances 2, 0, 2.
    hidden = {
        "text": torch.tensor([[0.0], [2.0]]),
        "audio": torch.tensor([[2.0], [4.0]]),
        "vision": torch.tensor([[4.0], [6.0]]),
    }
    by_hand = (3 * math.log(2.0) + (4 / 2 + 0 + 4 / 2)) / 3 / 2
    assert term({}, hidden, steps).item() == pytest.approx(by_hand, rel=1e-6)


def test_late_losses_count_from_the_second_epoch():
    model = build("TFR-Net", late_losses=True)
    assert model.weights(1) == {k: float(k == "task") for k in model.loss_weights}
    assert model.weights(2) == model.loss_weights


@pytest.mark.parametrize("name", FAMILY)
def test_what_has_no_loss_yet_is_not_worn_down(name):
    model = build(name, late_losses=True)
    rebuild = [p for n, p in model.named_parameters() if n.startswith("rebuild.")]
    hyper = model.hyper.model_copy(update={"weight_decay": 0.1})
    (stage,) = model.stages(hyper)
    batch = make_batch(LENGTHS)
    for epoch, is_still in ((1, True), (2, False)):
        before = [p.detach().clone() for p in rebuild]
        _Pass(stage, hyper).run(iter([batch]), len(batch.labels), epoch)
        same = [torch.equal(p, old) for p, old in zip(rebuild, before, strict=True)]
        assert rebuild
        assert all(same) if is_still else not any(same)


class _Counting:
    """An optimiser that counts, and notes the gradient it is given."""

    def __init__(self, parameter):
        self.parameter, self.seen = parameter, []

    def zero_grad(self):
        self.parameter.grad = None

    def step(self):
        self.seen.append(float(self.parameter.grad))


@pytest.mark.parametrize(
    ("window", "expected"),
    [(None, [1, 1, 1, 1, 1]), (2, [1, 2, 2, 1, 2, 2, 1])],
)
def test_the_running_sum_steps_on_growing_gradients(window, expected):
    parameter = torch.nn.Parameter(torch.zeros(()))
    hyper = SequenceSwitches(clip_value=None, running_sum=window)
    part = object.__new__(_Pass)
    part.hyper, part.parameters, part.schedule = hyper, [parameter], None
    part.optimiser = _Counting(parameter)
    part.stage = type(
        "Stage", (), {"objective": lambda *_: (parameter * 1.0, {}), "share": 1.0}
    )
    batches = [make_batch(LENGTHS) for _ in range(5)]
    part.run(iter(batches), 25, 1)
    assert part.optimiser.seen == expected


def test_drop_last_leaves_the_incomplete_batch_out_everywhere():
    config = RunConfig.resolve(
        dataset="demo",
        model="FC(T)",
        missing_rate=0.0,
        max_epochs=1,
        hyper={"drop_last": True, "batch_size": 32},
    )
    split = splits_of(config)["test"]
    assert len(split) % 32 != 0
    record = run(config)
    kept = len(split) - len(split) % 32
    missing = torch.from_numpy(record.predictions).isnan()
    assert not missing[:kept].any()
    assert missing[kept:].all()
    batches = list(split.shuffled(32, torch.Generator(), drop_last=True))
    assert {len(batch.labels) for batch in batches} == {32}


@pytest.mark.parametrize(
    ("name", "rate"),
    of_many(
        [(name, rate) for name in FAMILY for rate in (0.0, 1.0)],
        lambda name, rate: rate == 1.0,
    ),
)
def test_a_released_variant_trains_with_nothing_and_everything_missing(
    name, rate, quick
):
    record = quick(name, variant="released", missing_rate=rate, max_epochs=2)
    assert record.epochs == 2
    assert math.isfinite(record.metrics["test"]["MAE"])


@pytest.mark.parametrize("name", FAMILY)
def test_a_released_variant_keeps_the_padded_length(name):
    assert build(name, "released").trims_padding is False
    assert build(name).trims_padding is True
