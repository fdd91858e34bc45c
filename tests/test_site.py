"""What the built book has beside its pages: manifest, notebooks, commands."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from msa.data.paths import repo_root, results_dir
from msa.report import site
from msa.report.notebook import read_page

PAGE = "book/experiments/train.md"


@pytest.fixture
def small(tmp_path):
    """Return a folder laid out like the repository, with one file of each kind."""
    for name in ("_config.yml", "book/a.md", "results/runs.csv", "msa/x.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.fixture
def published(monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/replication")
    monkeypatch.setenv("GITHUB_REF_NAME", "v1")


@pytest.fixture(autouse=True)
def _unpublished(monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.delenv("GITHUB_REF_NAME", raising=False)


@pytest.mark.parametrize(
    "name", ["_config.yml", "book/a.md", "results/runs.csv", "msa/x.py"]
)
def test_whatever_the_book_reads_changes_its_checksum(small, name):
    before = site.source_checksum(small)
    (small / name).write_text("other")
    assert site.source_checksum(small) != before


def test_what_the_book_does_not_read_leaves_the_checksum(small):
    before = site.source_checksum(small)
    for name in ("tests/t.py", "book/a.ipynb", "msa/__pycache__/x.pyc"):
        (small / name).parent.mkdir(exist_ok=True)
        (small / name).write_text("other")
    assert site.source_checksum(small) == before


def test_a_renamed_page_changes_the_checksum(small):
    before = site.source_checksum(small)
    (small / "book/a.md").rename(small / "book/b.md")
    assert site.source_checksum(small) != before


def test_the_manifest_names_commit_packages_data_and_results():
    manifest = json.loads(json.dumps(site.manifest()))
    assert {"commit", "python", "torch"} <= manifest["environment"].keys()
    assert manifest["packages"]["jupyter-book"].startswith("1.")
    runs = (results_dir() / "runs.csv").read_bytes()
    assert manifest["results"]["runs.csv"] == hashlib.sha256(runs).hexdigest()
    for name, digest in manifest["data"].items():
        source = (results_dir() / "passport" / name / "source.csv").read_text()
        assert digest in source


def test_the_papermill_command_gives_the_first_parameter():
    command = site.papermill_command(PAGE, read_page(PAGE))
    assert f"jupytext --to ipynb -o - {PAGE}" in command
    assert command.endswith("papermill - train.ipynb -k python3 -p model MIT-FRNet")


def test_a_page_has_no_launch_button_where_no_repository_is_known():
    assert "https://" not in site.rerun_box(PAGE, read_page(PAGE), "../../")


@pytest.mark.usefixtures("published")
def test_launch_buttons_lead_to_the_published_reference():
    box = site.rerun_box(PAGE, read_page(PAGE), "../../")
    assert "gh/someone/replication/v1?urlpath=lab/tree/book/experiments/train." in box
    assert "someone/replication/blob/notebooks/book/experiments/train.ipynb" in box


@pytest.mark.usefixtures("published")
def test_a_generated_notebook_is_valid_and_fetches_the_package_first():
    page = read_page(PAGE)
    made = site.as_notebook(page, PAGE)
    nbformat.validate(made)
    assert "git clone -q --depth 1 --branch v1" in made.cells[0].source
    assert [c.source for c in made.cells[1:]] == [c.source for c in page.cells]


def test_a_notebook_that_is_generated_twice_is_the_same():
    first, second = (site.as_notebook(read_page(PAGE), PAGE) for _ in range(2))
    assert first == second
    assert len({cell.id for cell in first.cells}) == len(first.cells)


def test_the_verdict_is_read_for_the_page_that_shows_it(monkeypatch):
    asked = []
    monkeypatch.setattr(
        site, "verdict_of_the_title", lambda: asked.append(1) or "as it is"
    )
    first = site.as_notebook(read_page("book/index.md"), "book/index.md")
    assert "MIT-FRNet: as it is" in first.cells[0].source
    site.as_notebook(read_page(PAGE), PAGE)
    assert len(asked) == 1


def test_the_extension_is_part_of_the_configuration():
    assert "extra_extensions: [msa.report.site]" in (
        repo_root() / "_config.yml"
    ).read_text(encoding="utf-8")


def test_a_parameter_that_is_empty_is_not_the_one_in_the_command():
    cell = nbformat.v4.new_code_cell(
        'view: str = ""\nrate: float = 0.5', metadata={"tags": ["parameters"]}
    )
    page = nbformat.v4.new_notebook(cells=[cell])
    assert site.papermill_command("a.md", page).endswith("-k python3 -p rate 0.5")


def test_every_printed_papermill_command_makes_the_folder_that_it_writes_to():
    found = []
    for page in (repo_root() / "README.md", *(repo_root() / "book").rglob("*.md")):
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^.*\| papermill - .*$", text, re.MULTILINE):
            folder = Path(re.search(r"papermill - (\S+)", line)[1]).parent
            assert folder == Path() or line.startswith(f"mkdir -p {folder} && "), page
            found.append(page.name)
    assert set(found) == {"README.md", "train.md"}


def test_the_papermill_command_of_a_page_works(tmp_path):
    page = "book/papers/mit-table-2.md"
    command = site.papermill_command(page, read_page(page))
    command = command.replace("papermill - ", f"papermill - {tmp_path}/")
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=repo_root(),
        env={**os.environ, "PATH": tools},
        check=True,
        capture_output=True,
    )
    done = nbformat.read(tmp_path / "mit-table-2.ipynb", as_version=4)
    assert done.metadata.papermill.exception is None
    assert any("injected-parameters" in c.metadata.get("tags", []) for c in done.cells)
