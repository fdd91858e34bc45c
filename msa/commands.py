"""What the commands of the command line do.

Each takes the parsed options and returns the exit code. Heavy modules are imported
where they are used, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msa.data.load import Dataset
    from msa.data.registry import DataSource
    from msa.study.grids import Study
    from msa.study.store import RunStore
    from msa.train.config import RunConfig


class UsageError(Exception):
    """Arguments that cannot be carried out."""


def show_list(options: argparse.Namespace) -> int:
    """Print models, data sets, encoders, studies and pages."""
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
            if "parameters" in re.findall(r":tags: \[(.*?)\]", page.read_text("utf-8"))
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


def train(options: argparse.Namespace) -> int:
    """Train one model once, or show the stored run, and print its test metrics."""
    from msa.data.registry import source
    from msa.study.store import StoreError
    from msa.train.environment import check_device
    from msa.train.run import run

    config = config_of(options)
    data = source(config.dataset, config.view)
    tell = functools.partial(_warn, data)
    check_device(options.device)
    store = _store(options)
    known = store.has(config.run_id) and not options.again
    if not known:
        with store.claim(config.run_id) as ours:
            if not ours:
                raise StoreError(f"another process computes run {config.run_id} now")
            progress = sys.stderr.isatty()
            store.write(run(config, options.device, progress, tell))
    record = store.read(config.run_id)
    made_on = record.get("environment", {}).get("data_sha256")
    if known and made_on and (other := data.other_file(made_on)):
        tell(other)
    if options.json:
        _print_json({**record, "command": config.command()})
        return 0
    stored = _stored(config, record, options.device) if known else ""
    _print_run(config, record, stored)
    return 0


def config_of(options: argparse.Namespace) -> RunConfig:
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


def _stored(config: RunConfig, record: dict[str, Any], asked: str) -> str:
    """Say that a run was stored before, and what it was made on if not what is here."""
    place = record.get("environment", {})
    made = place.get("device", asked)
    told = ", stored before"
    if made != asked:
        told += (
            f" from a run on {made} ({place.get('device_name')}), not on {asked} "
            "(--again makes it there)"
        )
    return told + _on_other_data(config, place.get("data_sha256"))


def _on_other_data(config: RunConfig, made_on: str | None) -> str:
    """Say that a stored run was made on data that are not here; empty if they are."""
    from msa.data.registry import source
    from msa.study.verify import data_sha256

    if made_on is None:
        return ""
    here = data_sha256(config.dataset, config.view)
    if here is None:
        file = source(config.dataset, config.view).path
        return f", made on data that are not here now (no {file})"
    if here == made_on:
        return ""
    return (
        f", made on other data (SHA-256 {made_on[:12]}…) than are here now "
        f"({here[:12]}…; --again makes it on these)"
    )


def _print_run(config: RunConfig, record: dict[str, Any], stored: str) -> None:
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
        f"run {config.run_id}{stored}: {trained}; "
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


def study_run(options: argparse.Namespace) -> int:
    """Run what a study still lacks."""
    from msa.study.results import published_data, published_seconds
    from msa.study.runner import duration, run_study
    from msa.train.environment import check_device

    found = _part_of_study(options)
    store = _store(options)
    published = {} if options.again else published_data()
    _warn_of_other_data(found, store, published)
    configs = [c for c in found.configs if c.run_id not in published]
    if options.scheduler is None:  # a cluster may have what is not here
        check_device(options.device)
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
        elsewhere=published_seconds(options.device),
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
    if (outcome.failed or outcome.known_failures) and (told := _failures(found, store)):
        print(told)
    return 1 if outcome.failed else 0


def study_status(options: argparse.Namespace) -> int:
    """Print how far a study is."""
    from msa.study.durations import Durations
    from msa.study.results import published_data, published_seconds
    from msa.study.runner import duration, status

    found, store = _part_of_study(options), _store(options)
    published = published_data()
    _warn_of_other_data(found, store, published)
    states = status(found.configs, store)
    for run_id in published.keys() & states.keys():
        if states[run_id] == "missing":
            states[run_id] = "published"
    ahead = [c for c in found.configs if states[c.run_id] in ("running", "missing")]
    seconds, unknown = Durations(published_seconds("cpu")).split(ahead)
    begun = sorted({c.run_id for c in ahead}.intersection(store.begun()))
    if options.json:
        left = {"seconds_left": seconds, "of_unknown_length": unknown, "begun": begun}
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
    if begun:
        print(f"{len(begun)} of them have a checkpoint to go on from.")
    if "failed" in states.values():
        print(f"\n{_failures(found, store)}")
    return 0


def _part_of_study(options: argparse.Namespace) -> Study:
    from msa.study.grids import FILTERS, study

    wanted = {name: getattr(options, name) for name in FILTERS}
    return study(options.name).only(**wanted)


def _warn_of_other_data(
    found: Study, store: RunStore, published: Mapping[str, str | None]
) -> None:
    """Tell of runs that count as done and were made on another file than is here.

    ``published`` has the SHA-256 of the data of every run that need not be stored.
    """
    from msa.data.registry import source
    from msa.study.verify import data_sha256

    made_on: dict[tuple[str, str, bool], list[str]] = {}
    for config in found.configs:
        stored = store.has(config.run_id)
        sha256 = (store.data_sha256 if stored else published.get)(config.run_id)
        if sha256:
            key = (config.dataset, config.view, stored)
            made_on.setdefault(key, []).append(sha256)
    data_here = functools.cache(data_sha256)
    for (dataset, view, stored), files in made_on.items():
        data = source(dataset, view)
        here = data.path and data_here(dataset, view)  # generated data are no file
        other = sum(file != here for file in files) if here else 0
        if not other:
            continue
        kind = "stored" if stored else "published"
        runs = "run was" if other == 1 else "runs were"
        remedy = (
            "another --store or MSA_STORE keeps runs on this file apart"
            if stored
            else "`study run` with --again makes them on this one"
        )
        _warn(
            data,
            f"{other} {kind} {runs} made on another file than the {data.path} that is "
            f"here now (SHA-256 {here[:12]}…) and count as done; {remedy}",
        )


def _failures(found: Study, store: RunStore) -> str:
    """List the failures that are kept; where a GPU was full, none is."""
    from msa.study.runner import describe

    failures = store.failures()
    lines = [
        f"  {describe(c)}: {failures[c.run_id]['error']}"
        for c in found.configs
        if c.run_id in failures
    ]
    if not lines:
        return ""
    where = store.path / "failures"
    return "\n".join([f"Failed (tracebacks are in {where}):", *lines])


def study_publish(options: argparse.Namespace) -> int:
    """Bring stored runs of studies into the published results."""
    from msa.data.paths import results_dir
    from msa.study.encoders import publish_encoders
    from msa.study.grids import study
    from msa.study.layout import Folder
    from msa.study.pairs import publish_pairs
    from msa.study.publish import publish
    from msa.study.switches import publish_switches
    from msa.study.verdicts import publish_verdicts

    grids = [study(name) for name in options.names]
    run_ids = {config.run_id for grid in grids for config in grid.configs}
    store = _store(options)
    # One hold on the folder: what is computed from runs is never older than they are.
    with Folder(results_dir()).exclusive():
        done = publish(
            store,
            run_ids=run_ids if grids else None,
            other_data=options.other_data,
        )
        print(
            f"Runs: {done.runs} taken from the store {store.path}, "
            f"{done.total} published in all."
        )
        computed = publish_verdicts() + publish_pairs()
        computed += publish_encoders() + publish_switches()
    print("Changed: " + (", ".join(done.written + computed) or "nothing"))
    if done.unlabelled:
        print(
            f"Not on this machine: {', '.join(done.unlabelled)}; their summaries stay "
            "as they were."
        )
    return 0


def study_columns(options: argparse.Namespace) -> int:
    """Print what the columns of published files mean."""
    from msa.report.columns import described, meanings

    files = [name.removeprefix("results/") for name in options.files]
    found = {name: described(name) for name in files} or meanings()
    if options.json:
        _print_json(found)
        return 0
    for name, columns in found.items():
        print(name)
        for column, meaning in columns.items():
            indent = {"initial_indent": "  ", "subsequent_indent": " " * 6}
            print(textwrap.fill(f"{column}: {meaning}", 88, **indent))
        print()
    if not files:
        print("A * stands for any letters; what holds for more files stands first.")
    return 0


def study_verify(options: argparse.Namespace) -> int:
    """Run published runs again and compare."""
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
            "to, raise PROTOCOL (msa/train/config.py) and publish the runs anew; if it "
            "only rounds otherwise, raise ROUNDING (msa/train/environment.py)."
        )
    return 1 if drifted else 0


def data_check(options: argparse.Namespace) -> int:
    """Validate a data set and print its passport."""
    from msa.data.load import load
    from msa.data.passport import passport

    data = load(options.dataset, options.view)
    _warn(data.source, *data.notes)
    tables = passport(data, None if options.no_text else _text_features(data))
    if options.write:
        from msa.study.publish import publish_passport

        written = publish_passport(data.source.dataset, data.source.view, tables)
        print("Changed: " + (", ".join(written) or "nothing"), file=sys.stderr)
    if options.json:
        _print_json({name: t.to_dict("records") for name, t in tables.items()})
        return 0
    print(
        f"{data.source.title}, {data.source.view}: valid. SHA-256 {data.sha256}"
        f"{_origin(data)}\n"
    )
    for name, table in tables.items():
        if name in ("masks", "length_histogram"):
            continue  # for the book's pictures; --json has them
        rows = table.drop(columns=["dataset", "view"]).to_dict("records")
        shown = rows if len(rows) <= 40 else rows[:20]
        print(f"{name.replace('_', ' ').capitalize()}\n{_table(shown)}")
        more = len(rows) - len(shown)
        print(f"... {more} more rows, see --json\n" if more else "")
    return 0


def _origin(data: Dataset) -> str:
    """Say whether a file is the published one; nothing of generated data."""
    if data.source.sha256 is None:
        return ""
    is_published = data.source.is_published(data.sha256)
    return f", {'' if is_published else 'not '}that of the published file"


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


def notebook_run(options: argparse.Namespace) -> int:
    """Run a page of the book with other parameters."""
    from msa.report.notebook import run_notebook

    names = [name for name, _ in options.parameter]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(f"parameter {twice[0]!r} is given twice")
    run_notebook(options.page, dict(options.parameter), options.output)
    return 0


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


def _check_inputs(configs: Sequence[RunConfig]) -> None:
    """Look at data and encoders once and before the start, not once per run.

    What is missing fails here, and notes of the data sets are told.
    """
    from msa.data.load import load
    from msa.data.text import encoder_sha256

    for dataset, view in dict.fromkeys((c.dataset, c.view) for c in configs):
        data = load(dataset, view)
        _warn(data.source, *data.notes)
    for encoder in dict.fromkeys(c.encoder for c in configs):
        encoder_sha256(encoder)


def _warn(data: DataSource, *notes: str) -> None:
    """Print notes of a data set as warnings, a line each."""
    for note in notes:
        print(f"warning: {data.title}, {data.view}: {note}", file=sys.stderr)


def _encoder_is_here(name: str) -> bool:
    """Tell whether an encoder can be used without downloading anything."""
    from importlib.util import find_spec

    from huggingface_hub import try_to_load_from_cache

    from msa.data.paths import models_dir
    from msa.data.text import MINILM

    if name == "minilm":
        return find_spec(MINILM) is not None
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
    """Turn a value into strict JSON: arrays as lists, NaN and infinity as null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
