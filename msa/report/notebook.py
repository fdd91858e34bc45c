"""Run a page of the book with other parameters: papermill on a text notebook.

papermill alone cannot read Markdown notebooks, carries on with the default when a
parameter is misspelt, and leaves a half-run file behind when a cell fails. Here an
unknown parameter, a value of the wrong type and a failed cell are errors that say what
to do.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError
from pydantic import TypeAdapter, ValidationError

from msa.data.paths import repo_root

KERNEL = "python3"
"""The only kernel that pages name: the Python that runs this package."""

STARTS = 3
"""Attempts to start a kernel. Kernels that start at the same time can draw the same
port, and the loser dies before its first cell."""

_TYPES = {kind.__name__: kind for kind in (bool, int, float, str, list)}
_START_FAILED = (
    "Kernel died before replying",
    "Kernel didn't respond",
    "Address already in use",
)


class NotebookError(ValueError):
    """A page does not exist, its parameters are wrong, or one of its cells failed."""


@dataclass(frozen=True)
class Parameter:
    """One name of a page's parameters cell.

    Attributes
    ----------
    name : str
        Name of the variable.
    default : object
        The literal it is set to.
    annotation : object
        Its type: the annotation where there is one, else the type of the default.
    help : str
        The comment behind it; empty without one.
    """

    name: str
    default: Any
    annotation: Any
    help: str = ""

    def parse(self, value: object) -> Any:
        """Return ``value`` as this parameter's type.

        Parameters
        ----------
        value : object
            A Python value, or its text as written on a command line.

        Raises
        ------
        NotebookError
            If it is not of that type; the message shows the type and the default.
        """
        kind = self.annotation
        try:
            return TypeAdapter(kind).validate_python(_from_text(value, kind))
        except ValidationError as error:
            name = str(kind) if typing.get_args(kind) else kind.__name__
            raise NotebookError(
                f"parameter {self.name!r} cannot be {value!r}: it takes {name}, "
                f"by default {self.default!r}"
            ) from error


def read_page(page: str | Path) -> nbformat.NotebookNode:
    """Read a text notebook (or an ``.ipynb``) as a notebook.

    Parameters
    ----------
    page : path
        A file, relative to the current folder or to the repository.

    Raises
    ------
    NotebookError
        If there is no such file, or it has no code cell.
    """
    notebook = jupytext.read(find_page(page))
    if not any(cell.cell_type == "code" for cell in notebook.cells):
        raise NotebookError(f"{page} has no code cell: there is nothing to run")
    return notebook


def find_page(page: str | Path) -> Path:
    """Return the file of a page, which may be named relative to the repository.

    Raises
    ------
    NotebookError
        If there is no such file; the message lists the pages of the book.
    """
    for folder in (Path(), repo_root(), repo_root() / "book"):
        path = folder / page
        if path.is_file():
            return path
    pages = sorted((repo_root() / "book").glob("**/*.md"))
    known = ", ".join(path.relative_to(repo_root()).as_posix() for path in pages)
    raise NotebookError(f"there is no page {str(page)!r}; the book has {known}")


def parameters_of(notebook: nbformat.NotebookNode) -> dict[str, Parameter]:
    """Return the parameters of a notebook, keyed by name, in the order of the cell.

    Parameters
    ----------
    notebook : NotebookNode
        A notebook with at most one cell tagged ``parameters``.

    Raises
    ------
    NotebookError
        If the cell holds anything but assignments of literals: what is computed there
        would not be computed again for other values.
    """
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if not cells:
        return {}
    if len(cells) > 1:
        raise NotebookError("more than one cell is tagged 'parameters'; keep one")
    source = cells[0].source
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for statement in ast.parse(source).body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                annotation = _annotation(statement.annotation)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                annotation = None
            case _:
                raise NotebookError(_not_literal(statement))
        try:
            default = ast.literal_eval(value)
        except ValueError:
            raise NotebookError(_not_literal(statement)) from None
        found[name] = Parameter(
            name=name,
            default=default,
            annotation=type(default) if annotation is None else annotation,
            help=comments.get(statement.end_lineno or 0, ""),
        )
    return found


def run_notebook(
    page: str | Path,
    parameters: Mapping[str, object] | None = None,
    output: str | Path | None = None,
    progress: bool | None = None,
) -> Path:
    """Execute a page with other parameters and write the executed notebook.

    Parameters
    ----------
    page : path
        A text notebook, relative to the current folder or to the repository.
    parameters : mapping of str to value, optional
        Values that replace the page's defaults. Texts, as they come from a command
        line, are read as the type of the parameter.
    output : path, optional
        Where the executed ``.ipynb`` goes; by default below ``build/`` in the
        repository, under the name of the page.
    progress : bool, optional
        Show a bar that counts cells; by default only on a terminal.

    Returns
    -------
    Path
        The executed notebook, also printed.

    Raises
    ------
    NotebookError
        If the page does not exist, a parameter is unknown or of the wrong type, or a
        cell fails; then the message shows the cell's error.
    """
    source = find_page(page)
    notebook = read_page(source)
    values = checked_parameters(page, notebook, parameters or {})
    target = _output_path(source, output)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotebookError(
            f"the executed notebook cannot be written to {target} ({error}); name "
            "another file with -o"
        ) from error
    if progress is None:
        progress = sys.stderr.isatty()
    _execute(page, notebook, values, target, progress)
    executed = nbformat.read(target, as_version=4)
    failed = [
        out
        for cell in executed.cells
        for out in cell.get("outputs", [])
        if out.output_type == "error"
    ]
    if failed or executed.metadata.get("papermill", {}).get("exception"):
        raise NotebookError(f"{page} did not finish; what it did is in {target}")
    print(f"Executed notebook: {target}")
    return target


def checked_parameters(
    page: str | Path, notebook: nbformat.NotebookNode, given: Mapping[str, object]
) -> dict[str, Any]:
    """Return the given parameters with the types that the page declares.

    Raises
    ------
    NotebookError
        If a name is not in the parameters cell; the message lists those that are,
        with their defaults. Also if a value has the wrong type.
    """
    known = parameters_of(notebook)
    unknown = [name for name in given if name not in known]
    if unknown:
        there = "\n".join(
            f"  {p.name} = {p.default!r}  {p.help}" for p in known.values()
        )
        raise NotebookError(
            f"{page} has no parameter {', '.join(map(repr, unknown))}; it takes\n"
            f"{there or '  none'}"
        )
    return {name: known[name].parse(value) for name, value in given.items()}


def _execute(
    page: str | Path,
    notebook: nbformat.NotebookNode,
    values: dict[str, Any],
    target: Path,
    progress: bool,
) -> None:
    for attempt in range(1, STARTS + 1):
        try:
            papermill.execute_notebook(
                notebook,
                str(target),
                parameters=values,
                kernel_name=KERNEL,
                language="python",
                progress_bar=progress,
            )
            return
        except PapermillExecutionError as error:
            raise NotebookError(
                f"a cell of {page} failed: {error.ename}: {error.evalue}\n"
                f"{error.source.strip()}\n"
                f"The notebook as far as it ran is {target}"
            ) from None
        except Exception as error:
            # Only a kernel that never started is worth another try.
            never_started = any(text in str(error) for text in _START_FAILED)
            if never_started and attempt < STARTS:
                continue
            raise NotebookError(
                f"{page} could not be run: {type(error).__name__}: {error}"
            ) from error


def _output_path(source: Path, output: str | Path | None) -> Path:
    if output is None:
        book = repo_root() / "book"
        inside = source.resolve().is_relative_to(book)
        name = source.resolve().relative_to(book) if inside else Path(source.name)
        return (repo_root() / "build" / name).with_suffix(".ipynb")
    target = Path(output)
    if target.suffix != ".ipynb":
        raise NotebookError(f"the output must be an .ipynb file, not {str(output)!r}")
    if target.resolve() == source.resolve():
        raise NotebookError(f"the output would overwrite the page {source}")
    return target


def _not_literal(statement: ast.stmt) -> str:
    return (
        "the parameters cell may only hold 'name: type = literal' lines, not "
        f"{ast.unparse(statement)!r}"
    )


def _comments(source: str) -> dict[int, str]:
    """Return the comment at the end of each line, keyed by line number from 1."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _annotation(node: ast.expr) -> Any:
    """Return the type that an annotation names, such as ``list[float] | None``."""
    try:
        # A page is code that is about to be run; its annotations are not less trusted.
        return eval(ast.unparse(node), {"__builtins__": _TYPES})
    except (NameError, TypeError) as error:
        raise NotebookError(
            f"the parameters cell uses the type {ast.unparse(node)!r}; it may use "
            f"{', '.join(_TYPES)} and what they make up, such as 'list[float] | None'"
        ) from error


def _from_text(value: object, annotation: Any) -> object:
    """Return what a command-line text stands for, before its type is checked."""
    if not isinstance(value, str):
        return value
    kinds = {annotation, *typing.get_args(annotation)}
    if types.NoneType in kinds and value.lower() in ("none", "null"):
        return None
    if any(list in (kind, typing.get_origin(kind)) for kind in kinds):
        items = value.strip().removeprefix("[").removesuffix("]").split(",")
        return [item.strip(" '\"") for item in items if item.strip()]
    return value
