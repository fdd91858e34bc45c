"""The commands ``python -m msa bench models``, ``runner`` and ``rates``."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import Any

from msa.data.registry import DATASETS, FRAME_LEVEL

KINDS = ("clip-context", "papers")
MODES = ("frozen", "finetune")
WAYS = ("single", "sequential", "packed")

_DESCRIPTION = """\
Measure how fast the models train: seconds per epoch, steps per second, peak memory,
parameters and multiply-accumulate operations per sample, beside a module-by-module
TFR-Net. A few steps of the real training loop are timed after a warm-up and scaled to
a whole epoch. Nothing else should run on the machine meanwhile."""

_EXAMPLES = """\
examples:
  python -m msa bench models --models TFR-Net "TFR-Net (plain)"
  python -m msa bench models --encoder-mode frozen finetune --save
  python -m msa bench models --shapes papers --steps 2 --json"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the ``bench`` command to the command line of the project.

    Parameters
    ----------
    subparsers : object
        What ``ArgumentParser.add_subparsers`` returned.
    """
    group = subparsers.add_parser(
        "bench",
        help="measure the speed of the models and of the study runner",
        description="Measure the speed of the models, or of the study runner.",
    )
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser = verbs.add_parser(
        "models",
        help="measure the models, one after the other",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help="only these; MODEL/VARIANT measures another variant than the first",
    )
    parser.add_argument(
        "--shapes",
        nargs="+",
        choices=KINDS,
        default=[KINDS[0]],
        help="clip-context (default): the real data, or random tensors of its lengths; "
        "papers: random tensors of the shapes of the papers' features",
    )
    parser.add_argument(
        "--encoder-mode",
        nargs="+",
        choices=MODES,
        default=[MODES[0]],
        help="frozen (default): text features are ready; finetune: the encoder trains",
    )
    parser.add_argument(
        "--steps",
        type=positive,
        metavar="N",
        help="mini-batches in each of the two measured passes (default: 20, papers 4)",
    )
    parser.add_argument(
        "--threads", type=positive, default=2, metavar="N", help="default: 2"
    )
    parser.add_argument(
        "--save",
        action="store_true",
        help="merge the rows into results/benchmarks/models.csv, which the book shows",
    )
    _add_where(parser)
    parser.set_defaults(command=_models)
    _add_runner(verbs)
    _add_rates(verbs)
    return parser


_RATES_DESCRIPTION = """\
Measure the seconds of an epoch at every missing rate, of the systems of MIT-FRNet's
Table 6: one right after the other, several rounds, with one thread. Nothing else should
run on the machine meanwhile."""

_RATES_EXAMPLES = """\
examples:
  python -m msa bench rates --save
  python -m msa bench rates --view unaligned --rates 0.5 --save
  python -m msa bench rates --models MulT MIT-FRNet --rates 0.0 0.5 --rounds 1"""


def _add_rates(verbs: Any) -> None:
    parser = verbs.add_parser(
        "rates",
        help="measure an epoch at every missing rate, one system after the other",
        description=_RATES_DESCRIPTION,
        epilog=_RATES_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help="only these (default: the rows of Table 6)",
    )
    parser.add_argument(
        "--view",
        choices=("clip-context", *FRAME_LEVEL),
        help="feature view (default: the data set's own); unaligned takes random "
        "tensors of the papers' shapes where the official file is not there",
    )
    parser.add_argument(
        "--rates",
        nargs="+",
        type=_rate,
        metavar="R",
        help="only these missing rates (default: 0.0, 0.1, ..., 1.0)",
    )
    parser.add_argument(
        "--rounds",
        type=positive,
        metavar="N",
        help="default: 3, as studies have seeds",
    )
    parser.add_argument(
        "--threads", type=positive, default=1, metavar="N", help="default: 1"
    )
    parser.add_argument(
        "--save",
        action="store_true",
        help="merge the rows into results/benchmarks/rates.csv; the verdicts on "
        "running time follow with the next `python -m msa study publish`",
    )
    _add_where(parser)
    parser.set_defaults(command=_rates)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no missing rate from 0 to 1")
    return value


def _rates(options: argparse.Namespace) -> int:
    from msa.bench import rates
    from msa.train.environment import check_device
    from msa.train.metrics import RATES

    check_device(options.device)
    rows = []
    for row in rates.measure_rates(
        [_model_name(name) for name in options.models or rates.SYSTEMS],
        options.rates or RATES,
        dataset=options.dataset,
        view=options.view,
        rounds=options.rounds or rates.ROUNDS,
        threads=options.threads,
        device=options.device,
    ):
        rows.append(row)
        if options.save:
            rates.save_rates([row])  # at once: a long measurement may be interrupted
        what = f"{row['model']}, rate {row['missing_rate']:g}, round {row['round']}"
        _tell(options, f"{what}: {row['seconds_per_epoch']:.3g} s per epoch")
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    import pandas as pd

    table = pd.DataFrame(rows).pivot_table(
        index="model", columns="missing_rate", values="seconds_per_epoch", sort=False
    )
    rounds = max(row["round"] for row in rows)
    print(f"Seconds per epoch, mean of {rounds} rounds, by missing rate:")
    print(table.to_string(float_format=_number))
    return 0


_RUNNER_DESCRIPTION = """\
Measure how many runs an hour a study does: the same small grid as single commands one
after another, in one lasting process, and packed; then how the cost of training grows
with samples, sequence length, batch and number of runs, with fitted exponents. Nothing
else should run on the machine meanwhile."""

_RUNNER_EXAMPLES = """\
examples:
  python -m msa bench runner --dataset mosi --runs 12 --max-epochs 3 --save
  python -m msa bench runner --only pace --device cuda --jobs 8 --runs 48
  python -m msa bench runner --only growth --models TFR-Net --json"""


def _add_runner(verbs: Any) -> None:
    parser = verbs.add_parser(
        "runner",
        help="measure the study runner, packed and one run after another",
        description=_RUNNER_DESCRIPTION,
        epilog=_RUNNER_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        choices=("pace", "growth"),
        help="runs per hour alone, or the growth of the cost alone (default: both)",
    )
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help="default: both papers' models and TFR-Net",
    )
    parser.add_argument(
        "--runs",
        type=positive,
        default=12,
        metavar="N",
        help="runs of the grid, the models in turn (default: 12)",
    )
    parser.add_argument(
        "--max-epochs",
        type=positive,
        default=3,
        metavar="N",
        help="epochs of each run (default: 3)",
    )
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="runs at the same time when packed (default: one per core, as far as the "
        "memory of a GPU goes)",
    )
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=WAYS,
        default=list(WAYS),
        help="only these ways to do the grid",
    )
    parser.add_argument(
        "--save",
        action="store_true",
        help="merge the rows into results/benchmarks/runner.csv and growth.csv",
    )
    _add_where(parser)
    parser.set_defaults(command=_runner)


def _add_where(parser: argparse.ArgumentParser) -> None:
    """Add what every measurement can be told: on what, where, and how to answer."""
    parser.add_argument(
        "--dataset", choices=DATASETS, default="mosi", help="default: mosi"
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def positive(text: str) -> int:
    """Read a whole number from 1 up, an argument of the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


def _models(options: argparse.Namespace) -> int:
    from msa.bench.table import public_times, save_times, with_ratios
    from msa.bench.timing import BenchError, measure_apart
    from msa.train.environment import check_device

    check_device(options.device)
    rows, failed = [], 0
    for job in _jobs(options):
        try:
            row = measure_apart(job)
        except BenchError as error:  # one that needs too much memory stops no other
            print(error, file=sys.stderr)
            failed += 1
            continue
        rows.append(row)
        if options.save:
            save_times([row])  # at once: a long measurement may be interrupted
        if not options.json:
            print(_line(row), file=sys.stderr)
    if options.json:
        print(json.dumps(rows, indent=1))
    elif rows:
        import pandas as pd

        print(_told(with_ratios(pd.DataFrame(rows))))
        print(f"\npublic: {public_times()['label']}")
    return 1 if failed else 0


def _runner(options: argparse.Namespace) -> int:
    import pandas as pd

    from msa.bench import runner
    from msa.train.environment import check_device

    check_device(options.device)
    models = [_model_name(name) for name in options.models or runner.MODELS]
    pace = [] if options.only == "growth" else _measured_pace(options, models)
    growth = [] if options.only == "pace" else _measured_growth(options, models)
    fitted = runner.exponents(
        pd.DataFrame(pace, columns=None if pace else ["way"]), pd.DataFrame(growth)
    )
    if options.json:
        found = {"pace": pace, "growth": growth, "exponents": fitted.to_dict("records")}
        print(json.dumps(found, indent=1, default=float))
        return 0
    if pace:
        shown = ["way", "jobs", "runs", "seconds", "seconds_per_run", "runs_per_hour"]
        shown += ["over_single", "over_sequential"]
        table = runner.speedups(pd.DataFrame(pace))[shown]
        print(table.to_string(index=False, float_format=_number, na_rep="–"))
    if len(fitted):
        print("\nSeconds grow as value ^ exponent:")
        print(fitted.to_string(index=False, float_format=_number, na_rep="–"))
    return 0


def _model_name(name: str) -> str:
    from msa.bench.timing import entry_of

    return entry_of(name).name


def _measured_pace(
    options: argparse.Namespace, models: list[str]
) -> list[dict[str, Any]]:
    from msa.bench import runner
    from msa.study.runner import default_jobs

    configs = runner.grid(options.dataset, models, options.runs, options.max_epochs)
    runner.warm_up(configs, options.device)
    jobs = options.jobs or default_jobs(options.device)
    rows = []
    for pace in runner.paces(configs, jobs, options.device, options.ways):
        row = runner.measure_pace(pace)
        rows.append(row)
        if options.save:
            runner.save_pace([row])  # at once: a long measurement may be interrupted
        _tell(options, f"{pace.way}, {len(pace.configs)} runs: {row['seconds']:.1f} s")
    return rows


def _measured_growth(
    options: argparse.Namespace, models: list[str]
) -> list[dict[str, Any]]:
    from msa.bench import runner

    rows = []
    for model, axis, value in runner.growth_points(models):
        row = runner.measure_growth(model, axis, value, options.device)
        rows.append(row)
        if options.save:
            runner.save_growth([row])
        told = f"{model}, {axis} {value}: {row['seconds']:.3g} s per epoch"
        _tell(options, told)
    return rows


def _tell(options: argparse.Namespace, line: str) -> None:
    if not options.json:
        print(line, file=sys.stderr)


def _jobs(options: argparse.Namespace) -> list[Any]:
    from msa.bench.timing import STEPS, Job, entry_of, trained_models

    systems = []
    for text in options.models or trained_models():
        name, _, variant = text.partition("/")
        entry = entry_of(name)
        variant = variant or entry.default_variant
        entry.resolve(options.dataset, variant)  # refuses an unknown variant now
        systems.append((entry.name, variant))
    return [
        Job(
            name,
            variant,
            dataset=options.dataset,
            shapes=shapes,
            encoder_mode=mode,
            steps=options.steps or STEPS[shapes],
            threads=options.threads,
            device=options.device,
        )
        for shapes in options.shapes
        for mode in options.encoder_mode
        for name, variant in systems
        if mode == "frozen" or entry_of(name).can_fine_tune
    ]


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['model']} ({row['variant']}), {row['shapes']}, {row['encoder_mode']}: "
        f"{row['seconds_per_epoch']:.3g} s per epoch"
    )


def _told(times: Any) -> str:
    """Lay the measured rows out as text, with what they were measured on."""
    heads = {
        "model": "model",
        "variant": "variant",
        "shapes": "shapes",
        "encoder_mode": "text encoder",
        "seconds_per_epoch": "s/epoch",
        "steps_per_second": "steps/s",
        "batch_size": "batch",
        "peak_memory_mb": "peak MB",
        "parameters": "parameters",
        "macs_per_sample": "MACs/sample",
        "public_seconds": "public s/epoch",
        "faster_than_public": "x faster",
        "faster_than_plain": "x plain",
    }
    shown = times[list(heads)].rename(columns=heads)
    text = shown.to_string(index=False, float_format=_number, na_rep="–")
    first = times.iloc[0]
    content = "; ".join(dict.fromkeys(times["content"]))
    return (
        f"{text}\n\nOn: {content}; missing rate {first['missing_rate']:g}. Seconds per "
        f"epoch are scaled from {times['steps'].min()} to {times['steps'].max()} steps "
        f"after a warm-up to all training and validation rows.\n"
        f"{first['device_name']}, {first['threads']} threads, torch {first['torch']}, "
        f"python {first['python']}."
    )


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.3g}"
