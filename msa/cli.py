"""The command line: ``python -m msa``.

Heavy modules are imported where they are used, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from msa import audit, bench
from msa.bench.command import positive
from msa.commands import (
    UsageError,
    data_check,
    notebook_run,
    show_list,
    study_columns,
    study_publish,
    study_run,
    study_status,
    study_verify,
    train,
)

# What a user can mend: printed as one message. Looked up in the modules that are
# loaded by then, because only these can have raised anything.
_MENDABLE = {
    "msa.data.pickles": ("DataError",),
    "msa.data.registry": ("UnknownData",),
    "msa.data.text": ("EncoderError",),
    "msa.models.base": ("OutputsError",),
    "msa.models.registry": ("UnknownModel",),
    "msa.train.config": ("ConfigError",),
    "msa.train.environment": ("CommitError", "DeviceError"),
    "msa.train.trainer": ("NonFiniteLoss",),
    "msa.study.grids": ("UnknownStudy",),
    "msa.study.store": ("StoreError",),
    "msa.study.cluster": ("ClusterError",),
    "msa.study.layout": ("ResultsError",),
    "msa.study.publish": ("PublishError",),
    "msa.study.verify": ("NothingToVerify",),
    "msa.report.columns": ("NoSuchFile",),
    "msa.report.notebook": ("NotebookError",),
    "msa.bench.timing": ("BenchError",),
    "msa.audit.files": ("FilesError",),
    "msa.audit.tidy": ("RunsError",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; those of the process when left out.

    Returns
    -------
    int
        0: done; 1: runs of a study failed or drifted, a measurement failed or a finding
        of the audit is open; 2: cannot be carried out, with a message that says why;
        130: interrupted.
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
    command.set_defaults(command=show_list)


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
    command.set_defaults(command=train)


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
    more.add_argument(
        "--text-scale",
        choices=("train",),
        help="centre the frozen encoder's features and bring them to unit spread, as "
        "audio and vision are",
    )
    more.add_argument(
        "--spare-prompt",
        action="store_true",
        default=None,
        help="never lose the prompt that every text begins with (CH-SIMS)",
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
        "  python -m msa study run matrix --dataset sims --model MFMB-Net --seed 1111\n"
        "  python -m msa study run mosi-sweep --scheduler tcp://10.0.0.1:8786",
    )
    run.add_argument("name", **name)
    _add_filters(run)
    run.add_argument(
        "--budget",
        type=_seconds,
        metavar="TIME",
        help="stop after this time, such as 90s, 9m or 1h30m, with everything "
        "finished so far stored; a long run goes on from its last checkpoint the next "
        "time (default: no limit)",
    )
    run.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="runs at the same time, one thread each (default: one per core, or per "
        "worker of a cluster; on a GPU no more than its free memory has room for, at "
        "3 GB each)",
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
    run.set_defaults(command=study_run)

    status = _add(
        verbs,
        "status",
        "show which runs of a study are stored, running, failed and missing",
        "  python -m msa study status mosi-sweep",
    )
    status.add_argument("name", **name)
    _add_filters(status)
    _add_store(status)
    _add_json(status)
    status.set_defaults(command=study_status)

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
    publish.add_argument(
        "--other-data",
        action="store_true",
        help="also take runs on another file than the published one of their data set; "
        "captions then say so (a folder for such results: MSA_RESULTS)",
    )
    _add_store(publish)
    publish.set_defaults(command=study_publish)

    columns = _add(
        verbs,
        "columns",
        "say what the columns of the published files in results/ mean",
        "  python -m msa study columns claims.csv pairs.csv\n"
        "  python -m msa study columns",
    )
    columns.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="only of these files, with all of their columns in order (default: "
        "everything that is written down)",
    )
    _add_json(columns)
    columns.set_defaults(command=study_columns)

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
        type=positive,
        default=3,
        metavar="N",
        help="how many; the cheapest of each model",
    )
    _add_json(verify)
    verify.set_defaults(command=study_verify)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    part = parser.add_argument_group("only a part of the study")
    for name, kind, what in (
        ("dataset", str, "data sets"),
        ("model", str, "systems"),
        ("variant", str, "variants"),
        ("missing_rate", float, "missing rates"),
        ("seed", int, "seeds"),
    ):
        part.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            nargs="+",
            metavar=name.split("_")[-1].upper(),
            help=f"only the runs of these {what}",
        )


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
    check.set_defaults(command=data_check)


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
    run.set_defaults(command=notebook_run)


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
