"""Imports run one way: report -> study -> train -> models -> data."""

import ast
from pathlib import Path

import pytest

import msa

PACKAGE = Path(msa.__file__).parent
ORDER = ("data", "models", "train", "study", "report")
ALLOWED = {layer: set(ORDER[: rank + 1]) for rank, layer in enumerate(ORDER)}
# The audit reads published tables: a sibling of the report, strangers to each other.
ALLOWED["audit"] = {*ORDER[:-1], "audit"}
# The benchmark measures models and reads the passports; the book shows what it counts.
ALLOWED["bench"] = {*ORDER[:-1], "bench"}
ALLOWED["report"].add("bench")
# Where a user comes in; nothing below may know of it.
ALLOWED["commands"] = {*ALLOWED, "commands"}
ALLOWED["cli"] = {*ALLOWED, "cli"}
ALLOWED["__main__"] = set(ALLOWED)
ALLOWED["__init__"] = set()


def _imports(file, package):
    """Yield the line and the part of msa of every import, those in functions too."""
    home = ("msa", *file.relative_to(package).with_suffix("").parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = list(home[: len(home) - node.level]) if node.level else []
            module = start + (node.module.split(".") if node.module else [])
            # `from msa import data` names its part after the import
            names = [[*module, alias.name] for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "msa" and len(name) > 1:
                yield node.lineno, name[1]


def offences(package):
    found = []
    for file in sorted(package.rglob("*.py")):
        own = file.relative_to(package).with_suffix("").parts[0]
        where = file.relative_to(package).as_posix()
        if own not in ALLOWED:
            found.append(f"{where}: {own!r} has no place in the order of layers")
            continue
        for line, part in _imports(file, package):
            if part.startswith("__") and part not in ALLOWED:
                continue  # such as msa.__version__: an attribute, not a layer
            if part not in ALLOWED[own]:
                found.append(f"{where}:{line}: {own} imports {part}")
    return found


def test_the_package_imports_one_way():
    assert offences(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "text", "offence"),
    [
        ("data/a.py", "from msa.models.base import Model", "data imports models"),
        ("models/a.py", "import msa.train.run", "models imports train"),
        ("train/a.py", "def f():\n    from msa import study", "train imports study"),
        ("study/a.py", "from ..report import style", "study imports report"),
        ("report/a.py", "from msa.audit import grim", "report imports audit"),
        ("audit/a.py", "from msa.report import tables", "audit imports report"),
        ("data/a.py", "from msa.cli import main", "data imports cli"),
        ("extras/a.py", "", "'extras' has no place in the order of layers"),
    ],
)
def test_an_offence_is_found(tmp_path, file, text, offence):
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text(text)
    (found,) = offences(tmp_path)
    assert found.startswith(file)
    assert found.endswith(offence)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("report/a.py", "from msa.study.store import read\nimport msa.data.load"),
        ("audit/a.py", "from msa.study import stats\nfrom msa.train import metrics"),
        ("models/a.py", "from .base import Model\nfrom ..data import contract"),
        ("data/a.py", "from msa import __version__\nimport numpy"),
        ("cli.py", "from msa.report import tables\nfrom msa import audit"),
        ("__main__.py", "from msa.cli import main"),
    ],
)
def test_what_is_allowed_passes(tmp_path, file, text):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert offences(tmp_path) == []
