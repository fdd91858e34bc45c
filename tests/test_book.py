"""The book as files: what every page must have, and one page run from end to end."""

from __future__ import annotations

import ast
import base64
import html
import re
import subprocess
from itertools import pairwise

import jupytext
import nbformat
import numpy as np
import pytest
import yaml
from papermill.translators import PythonTranslator

from msa.data.load import load
from msa.data.paths import repo_root, results_dir
from msa.report.figures import front_picture
from msa.report.notebook import KERNEL, parameters_of, run_notebook

ROOT = repo_root()
BOOK = ROOT / "book"
PAGES = sorted(BOOK.rglob("*.md"))
NOTEBOOKS = [page for page in PAGES if "kernelspec:" in page.read_text()]

page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda p: p.relative_to(BOOK).as_posix()
)
notebook = pytest.mark.parametrize(
    "page", NOTEBOOKS, ids=lambda p: p.relative_to(BOOK).as_posix()
)


def listed(entry):
    """Yield every page of a table of contents, at any depth."""
    if isinstance(entry, list):
        for item in entry:
            yield from listed(item)
    elif isinstance(entry, dict):
        yield from (entry[key] for key in ("root", "file") if key in entry)
        for key in ("parts", "chapters", "sections"):
            yield from listed(entry.get(key, []))


def code_cells(page):
    cells = jupytext.read(page).cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


# --- pages ----------------------------------------------------------------------------


def test_every_page_is_in_the_table_of_contents_once():
    contents = list(listed(yaml.safe_load((ROOT / "_toc.yml").read_text())))
    there = [page.relative_to(ROOT).with_suffix("").as_posix() for page in PAGES]
    assert sorted(contents) == sorted(there)


@page
def test_a_page_opens_with_its_question_and_ends_with_a_summary(page):
    text = page.read_text()
    assert re.search(r"^# .+\n\n\*\*What this page answers:\*\*", text, re.MULTILINE)
    _, found, summary = text.rpartition("**In short:**")
    assert found
    assert not re.search(r"^#", summary, re.MULTILINE), "the summary comes last"


@page
def test_a_page_has_one_title_and_no_level_is_skipped(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


@notebook
def test_a_notebook_names_the_python_kernel(page):
    assert jupytext.read(page).metadata.kernelspec.name == KERNEL


@notebook
def test_a_parameters_cell_holds_explained_literals(page):
    # parameters_of refuses whatever is not a literal
    for parameter in parameters_of(jupytext.read(page)).values():
        assert parameter.help, f"{parameter.name} has no comment"


@notebook
def test_a_page_with_ch_sims_offers_no_aligned_view(page):
    # There is no aligned file of CH-SIMS, so such a page would stop.
    text = page.read_text()
    if '"sims"' in text:
        assert not re.search(r"^view: .+ aligned", text, re.MULTILINE)


@notebook
def test_papermill_knows_every_parameter(page):
    # It reads lines by a pattern, and calls a name that it did not find unknown.
    cells = jupytext.read(page).cells
    tagged = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    known = [p.name for cell in tagged for p in PythonTranslator.inspect(cell)]
    assert known == list(parameters_of(jupytext.read(page)))


@notebook
def test_a_notebook_stays_thin(page):
    for source in code_cells(page):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 5, f"{node.name} belongs in msa"
            assert not isinstance(node, ast.For | ast.While), "a loop belongs in msa"


def test_every_model_of_the_ledger_is_on_the_deviations_page():
    text = (BOOK / "deviations.md").read_text()
    (sections,) = re.findall(r"^own_section = (\[.+\])$", text, re.MULTILINE)
    for model in ast.literal_eval(sections):
        assert f'ledger_table("{model}")' in text
    assert "for model in ledger_models() if model not in own_section" in text


def test_every_citation_is_in_the_bibliography():
    keys = set(
        re.findall(r"^@\w+\{(.+),$", (BOOK / "references.bib").read_text(), re.M)
    )
    for page in PAGES:
        for cited in re.findall(r"\{cite:\w\}`([^`]+)`", page.read_text()):
            assert set(cited.split(",")) <= keys, page


# --- the project's front door ---------------------------------------------------------


def test_the_citation_file_has_what_readers_need():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    for key in ("message", "title", "authors", "version", "license"):
        assert citation[key]
    assert citation["preferred-citation"]["authors"]
    assert citation["preferred-citation"]["title"] == citation["title"]
    titles = [reference["title"] for reference in citation["references"]]
    assert any(title.startswith("A Multi-Focus-Driven") for title in titles)
    assert any(title.startswith("MIT-FRNet") for title in titles)
    for reference in citation["references"]:
        assert {"type", "authors", "year"} <= reference.keys()


def test_the_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{citation["version"]}"' in project


def test_no_path_of_a_machine_is_in_the_project():
    try:
        files = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True
        ).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: there is no list of the project's files")
    # spelt in parts, so that this file does not contain what it looks for
    folders = "|".join(("work", "tmp", "root", "home/[a-z]", "Users/[A-Za-z]"))
    machine = re.compile(rf"(?<![\w./~$}}])/(?:{folders})/".encode())
    found = [
        name
        for name in files.split("\0")
        if name
        and (ROOT / name).is_file()
        and machine.search((ROOT / name).read_bytes())
    ]
    assert found == []


def test_the_picture_in_the_readme_shows_the_published_results():
    if not (results_dir() / "summary.csv").exists():
        pytest.skip("no published results yet")
    (drawn,) = re.findall(r"!\[[^]]+\]\((.+?)\)", (ROOT / "README.md").read_text())
    stored = (ROOT / drawn).read_bytes() if (ROOT / drawn).is_file() else b""
    assert stored == front_picture().svg, "it is out of date: run `make picture`"


# --- one page, from end to end --------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the training page, executed on the demo set for two epochs.

    With the system whose epochs have two stages, and the most terms.
    """
    output = tmp_path_factory.mktemp("pages") / "train.ipynb"
    given = {"model": "MMIM", "max_epochs": "2", "missing_rate": "0.0"}
    run_notebook("book/experiments/train.md", given, output)
    return nbformat.read(output, as_version=4)


def pages_html(notebook):
    bundles = [
        output.data.get("text/html", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    return html.unescape("".join(bundles))


@pytest.mark.xdist_group("training-page")
def test_the_training_page_learns_something(trained):
    page = pages_html(trained)
    row = re.search(r"MAE \(label units\)</td>(.*?)</tr>", page, re.DOTALL).group(1)
    _, _, test_mae = map(float, re.findall(r">([\d.]+)</td>", row))
    labels = {name: s.labels.numpy() for name, s in load("demo").splits.items()}
    constant = np.abs(labels["test"] - np.median(labels["train"])).mean()
    assert 0 < test_mae < constant


@pytest.mark.xdist_group("training-page")
def test_the_training_page_labels_and_draws_what_it_did(trained):
    page = pages_html(trained)
    assert "demo (synthetic)" in page
    assert "text encoder minilm (frozen); missing rate 0.0" in page
    assert 'alt="Loss curves by epoch. MMIM, total loss from the first' in page


@pytest.mark.xdist_group("training-page")
def test_the_training_page_draws_every_term_of_a_system(trained):
    (drawn,) = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", pages_html(trained))
    svg = base64.b64decode(drawn).decode()
    terms = ["bound: likelihood", "contrast", "entropy", "likelihood"]
    for term in ["total (weighted sum)", *terms]:
        assert term in svg, f"no panel for {term}"


@pytest.mark.xdist_group("training-page")
def test_the_training_page_says_how_to_make_the_run_again(trained):
    words = "".join(
        output.data.get("text/markdown", "")
        for cell in trained.cells
        for output in cell.get("outputs", [])
        if "data" in output
    )
    assert "python -m msa train --dataset demo" in words
    assert "was trained for 2 epochs (at most 2)" in words


@pytest.mark.exhaustive
def test_the_training_page_works_for_a_reference_without_epochs(tmp_path):
    given = {"model": "text-linear", "missing_rate": 0.5}
    output = run_notebook("book/experiments/train.md", given, tmp_path / "t.ipynb")
    assert "text-linear, scores of one run" in pages_html(nbformat.read(output, 4))
