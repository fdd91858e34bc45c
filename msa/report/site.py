"""What the built book has beside its pages, as a Sphinx extension.

The book makes no request to another host: MathJax comes from an installed wheel, and
only pages with a formula load it. Every page that runs says how to run it again and
can be downloaded as a notebook. ``manifest.json`` tells which sources, results, data
and packages a build was made from.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jupytext
import nbclient
import nbformat
from jupyter_cache.executors import utils as executors

from msa.data.paths import repo_root, results_dir
from msa.report import kernels
from msa.report.front import verdict_of_the_title
from msa.report.notebook import KERNEL, parameters_of
from msa.study.results import load_passport
from msa.train.environment import environment

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MATHJAX = "sphinx-mathjax-offline"
"""The installed package that holds MathJax 3, whose folder is no Python name."""

_MATHJAX_PARTS = ("tex-chtml.js", "input/tex/extensions", "output/chtml/fonts/woff-v2")
_MATHJAX_SCRIPT = "mathjax/tex-chtml.js"
_THEBE = "thebe"  # runs cells on a server; switched off, yet its script is loaded
_VERDICT = "{{ verdict }}"
_FORMULA = re.compile(r'class="[^"]*\bmath\b')

_SOURCES = ("_config.yml", "_toc.yml", "book/**/*", "results/**/*", "msa/**/*")
_NO_SOURCES = {".pyc", ".ipynb"}

NOTEBOOKS = "_notebooks"
"""Folder of the built book with every page that runs, as an ``.ipynb``."""


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx; called because ``_config.yml`` names this module."""
    app.setup_extension("sphinx.ext.mathjax")
    app.config.mathjax_path = _MATHJAX_SCRIPT
    app.connect("config-inited", _read_side_by_side)
    app.connect("config-inited", _tell_the_verdict)
    app.connect("html-page-context", _complete_page, priority=900)
    app.connect("build-finished", _complete_book)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


# --- manifest -------------------------------------------------------------------------


def manifest() -> dict[str, Any]:
    """Return what a book that is built now is made from.

    Returns
    -------
    dict
        ``version`` of the package, ``environment`` (with the commit), ``packages``,
        ``data`` (SHA-256 of the files behind the results), ``results`` (SHA-256 of
        every published file) and ``sources`` (one checksum of all the book reads).
    """
    return {
        "version": version("msa"),
        "sources": source_checksum(),
        "environment": environment(),
        "data": _data_hashes(),
        "results": {
            path.relative_to(results_dir()).as_posix(): _sha256(path)
            for path in sorted(results_dir().rglob("*"))
            if path.is_file()
        },
        "packages": dict(sorted((d.name, d.version) for d in distributions())),
    }


def source_checksum(root: Path | None = None) -> str:
    """Return one SHA-256 of everything that the book is built from.

    Parameters
    ----------
    root : Path, optional
        The repository; by default the one of this package.
    """
    root = repo_root() if root is None else root
    digest = hashlib.sha256()
    for path in sorted({p for pattern in _SOURCES for p in root.glob(pattern)}):
        if path.is_file() and path.suffix not in _NO_SOURCES:
            digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
            digest.update(bytes.fromhex(_sha256(path)))
    return digest.hexdigest()


def _data_hashes() -> dict[str, str]:
    names = sorted(p.name for p in (results_dir() / "passport").glob("*--*"))
    tables = {name: load_passport(*name.split("--")) for name in names}
    return {name: str(t["source"]["sha256"].iat[0]) for name, t in tables.items()}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- running a page again -------------------------------------------------------------


def repository() -> tuple[str, str] | None:
    """Return the public repository (``owner/name``) and reference of this build.

    A hosted CI run gives both in its environment. Without them the pages carry no
    launch buttons: none is better than one that leads nowhere.
    """
    name = os.environ.get("GITHUB_REPOSITORY", "")
    reference = os.environ.get("GITHUB_REF_NAME", "")
    return (name, reference) if name and reference else None


def papermill_command(page: str, notebook: nbformat.NotebookNode) -> str:
    """Return the plain papermill command of a page, with its first parameter.

    Parameters
    ----------
    page : str
        Path of the text notebook in the repository.
    notebook : NotebookNode
        The page.
    """
    given = [
        f" -p {parameter.name} {parameter.default}"
        for parameter in parameters_of(notebook).values()
        if isinstance(parameter.default, str | int | float) and parameter.default != ""
    ]
    stem = Path(page).stem
    return (
        f"jupytext --to ipynb -o - {page} \\\n"
        f"    | papermill - {stem}.ipynb -k {KERNEL}{''.join(given[:1])}"
    )


def rerun_box(page: str, notebook: nbformat.NotebookNode, up: str) -> str:
    """Return the HTML that says how to run a page again.

    Parameters
    ----------
    page : str
        Path of the text notebook in the repository.
    notebook : NotebookNode
        The page.
    up : str
        Relative path from the page to the top of the book, such as ``"../"``.
    """
    target = Path(page).with_suffix(".ipynb").as_posix()
    links = [f'<a download href="{up}{NOTEBOOKS}/{target}">notebook</a>']
    where = repository()
    if where:
        name, reference = where
        links += [
            f'<a href="https://mybinder.org/v2/gh/{name}/{reference}'
            f'?urlpath=lab/tree/{target}">Binder</a>',
            f'<a href="https://colab.research.google.com/github/{name}/blob/notebooks/'
            f'{target}">Colab</a>',
        ]
    return (
        '<aside class="msa-rerun" aria-label="Run this page again">'
        f"<p><strong>Run this page again</strong>: {' · '.join(links)}, or</p>"
        '<div class="highlight-bash notranslate"><div class="highlight">'
        f'<pre tabindex="0">{html.escape(papermill_command(page, notebook))}</pre>'
        "</div></div></aside>"
    )


def as_notebook(notebook: nbformat.NotebookNode, page: str) -> nbformat.NotebookNode:
    """Return a page as an ``.ipynb`` that also starts where nothing is installed.

    Parameters
    ----------
    notebook : NotebookNode
        The page.
    page : str
        Its path in the repository, from which the names of cells are made.

    Returns
    -------
    NotebookNode
        A copy with stable cell ids; where the repository is known, with a first cell
        that fetches it if the package is not there.
    """
    copy = nbformat.from_dict(notebook)
    where = repository()
    if where:
        copy.cells.insert(0, nbformat.v4.new_code_cell(_INSTALL.format(*where)))
    for number, cell in enumerate(copy.cells):
        if _VERDICT in cell.source:
            cell.source = cell.source.replace(_VERDICT, verdict_of_the_title())
        cell.id = hashlib.sha256(f"{page}#{number}".encode()).hexdigest()[:8]
    return copy


_INSTALL = """\
# Fetches the package where it is not installed, such as on Colab.
from importlib.util import find_spec

if find_spec("msa") is None:
    !git clone -q --depth 1 --branch {1} https://github.com/{0} replication
    %cd replication
    %pip install -q -e .
    import sys

    sys.path.insert(0, ".")"""


def _pages_that_run(app: Sphinx) -> Iterator[tuple[str, nbformat.NotebookNode]]:
    for name in sorted(app.env.found_docs):
        path = app.env.doc2path(name)
        page = Path(path).relative_to(app.srcdir).as_posix()
        notebook = _notebook(Path(path))
        if notebook is not None:
            yield page, notebook


def _notebook(path: Path) -> nbformat.NotebookNode | None:
    """Return a page as a notebook; None if it has nothing to run."""
    if path.suffix != ".md" or "\nkernelspec:" not in path.read_text(encoding="utf-8"):
        return None
    return jupytext.read(path)


# --- speed ----------------------------------------------------------------------------


def _read_side_by_side(app: Sphinx, _: object) -> None:
    """Execute as many pages at a time as the cores can take."""
    if not hasattr(os, "sched_getaffinity"):
        return  # not Linux: neither the fork nor the short socket names are sure
    # One more, because a kernel that starts or ends mostly waits.
    app.parallel = max(app.parallel, len(os.sched_getaffinity(0)) + 1)
    kernels.start()
    executors.executenb = partial(
        nbclient.execute, kernel_manager_class=kernels.SocketKernelManager
    )
    # These do not say so, but only change what happens after reading.
    for name in ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex"):
        if name in app.extensions:
            app.extensions[name].parallel_read_safe = True


# --- the title ------------------------------------------------------------------------


def _tell_the_verdict(_: object, config: Any) -> None:
    """Give pages, such as the title of the first, the verdict as ``{{ verdict }}``."""
    known = {"verdict": verdict_of_the_title()}
    config.myst_substitutions = {**config.myst_substitutions, **known}


# --- hooks ----------------------------------------------------------------------------


def _complete_page(
    app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    # docutils gives the entries of its list a role that ARIA gave up.
    body = context.get("body", "").replace("doc-biblioentry", "listitem")
    unused = [_THEBE] if _FORMULA.search(body) else [_THEBE, _MATHJAX_SCRIPT]
    scripts = context["script_files"]
    scripts[:] = [s for s in scripts if not any(u in _said(s) for u in unused)]
    context["body"] = body
    if doctree is None:
        return
    path = Path(app.env.doc2path(name))
    notebook = _notebook(path)
    if notebook is not None and name != app.config.root_doc:
        page = path.relative_to(app.srcdir).as_posix()
        context["body"] = body + rerun_box(page, notebook, "../" * name.count("/"))


def _said(script: Any) -> str:
    """Return a script's file name and its text."""
    return f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', '')}"


def _complete_book(app: Sphinx, failure: Exception | None) -> None:
    if failure is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    _copy_mathjax(out / "_static" / "mathjax")
    for page, notebook in _pages_that_run(app):
        target = (out / NOTEBOOKS / page).with_suffix(".ipynb")
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(as_notebook(notebook, page), target)
    _write_json(out / "manifest.json", manifest())


def _copy_mathjax(target: Path) -> None:
    spec = find_spec(MATHJAX)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"the package {MATHJAX} is not installed, so formulas would need a "
            "network; install requirements.txt"
        )
    source = Path(spec.origin).parent / "static" / "mathjax"
    for part in _MATHJAX_PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            shutil.copyfile(source / part, target / part)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
