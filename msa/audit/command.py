"""The command ``python -m msa audit``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

PAPERS = ("MFMB-Net", "MIT-FRNet")

CHECK_NAMES = (
    "granularity",
    "has0-non0",
    "constants",
    "f1",
    "derived",
    "consistency",
    "noise-floor",
    "data-statistics",
)
"""Names of the checks; here again so that ``--help`` needs no heavy import."""

_DESCRIPTION = """\
Check what the printed tables of both papers say about themselves. Without options:
all checks on all 1,343 cells, a summary on the screen and every finding in
results/audit/."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the ``audit`` command to the command line of the project.

    Parameters
    ----------
    subparsers : object
        What ``ArgumentParser.add_subparsers`` returned. The parsed arguments carry the
        function to call as ``command``: ``arguments.command(arguments)`` returns the
        exit code.
    """
    parser = subparsers.add_parser(
        "audit", help="check the papers' printed tables", description=_DESCRIPTION
    )
    parser.add_argument(
        "--json", action="store_true", help="print the findings as a list of records"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for the findings (default: results/audit if nothing is filtered, "
        "else none)",
    )
    subject = parser.add_mutually_exclusive_group()
    subject.add_argument("--paper", choices=PAPERS, help="only this paper's findings")
    parser.add_argument(
        "--check",
        choices=CHECK_NAMES,
        action="append",
        help="only this check; repeatable",
    )
    subject.add_argument(
        "--runs",
        type=Path,
        metavar="CSV",
        help="audit a file of published runs instead of the papers; exit code 1 if a "
        "finding is open",
    )
    parser.add_argument(
        "--count-labels",
        action="store_true",
        help="first count the labels of the real data sets anew (needs them)",
    )
    parser.set_defaults(command=_run)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    # Imported late: the command line of the project stays quick for everything else.
    import pandas as pd

    from msa.audit import papers
    from msa.audit.checks import audit, verdict_counts
    from msa.audit.files import write_background, write_findings
    from msa.audit.findings import raised
    from msa.audit.labels import write_counts
    from msa.data.paths import results_dir

    if arguments.count_labels:
        write_counts()
    runs, chosen = arguments.runs, arguments.check or CHECK_NAMES
    if runs:
        found = audit(_runs_table(runs), checks=chosen)
    else:
        found = pd.concat([papers.findings(name) for name in chosen])
    if arguments.paper:
        found = found[found["paper"] == arguments.paper]

    out = arguments.out
    if out is None and not (arguments.paper or arguments.check or runs):
        out = results_dir() / "audit"
    if out is not None:
        write_findings(found, out)
        if not runs:
            write_background(out)

    if arguments.json:
        print(json.dumps(records(found), indent=1, ensure_ascii=False))
    else:
        print(verdict_counts(found).to_string())
        if out is not None:
            print(f"\nAll findings: {out}/findings-*.csv")
    return int(bool(runs) and len(raised(found)) > 0)


def records(found: pd.DataFrame) -> list[dict[str, Any]]:
    """Return findings as plain records; a number that does not apply is None."""
    return found.astype(object).where(found.notna(), None).to_dict("records")


def _runs_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    from msa.audit.tidy import RunsError, table_of_runs

    try:
        runs = pd.read_csv(path)
    except (OSError, ValueError) as error:  # not there, or no table
        raise RunsError(f"--runs {path}: {error}") from error
    return pd.concat([table_of_runs(runs), table_of_runs(runs, by_seed=True)])
