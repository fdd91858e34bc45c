"""Workflows, launch environment and citation: files that only run elsewhere."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
import yaml

from msa.data.paths import repo_root

ROOT = repo_root()
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)


def read(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["on"] = content.pop(True)  # YAML 1.1 reads the key `on` as a boolean
    return content


def steps(path):
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def test_there_is_a_workflow_for_tests_publishing_and_links():
    assert [path.stem for path in WORKFLOWS] == ["ci", "links", "pages"]


@workflow
def test_a_workflow_has_limits(path):
    content = read(path)
    assert content["permissions"], "without it a job may write to the repository"
    for job in content["jobs"].values():
        assert job["timeout-minutes"] <= 90
        assert "latest" not in job["runs-on"]


@workflow
def test_a_step_runs_one_thing_and_an_action_has_a_version(path):
    for step in steps(path):
        assert ("run" in step) != ("uses" in step)
        if "uses" in step:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+", step["uses"])


@workflow
def test_a_workflow_calls_what_exists(path):
    called = "\n".join(step.get("run", "") for step in steps(path))
    for target in re.findall(r"\bmake (\w+)", called):
        assert target in TARGETS
    for script in re.findall(r"\bbash (\S+)", called):
        assert (ROOT / script).is_file()
    script = subprocess.run(["bash", "-n"], input=called.encode(), check=False)
    assert script.returncode == 0


def test_the_tests_run_on_every_supported_python():
    (job,) = read(ROOT / ".github/workflows/ci.yml")["jobs"].values()
    project = (ROOT / "pyproject.toml").read_text()
    (oldest,) = re.findall(r'requires-python = ">=([\d.]+)"', project)
    assert oldest in job["strategy"]["matrix"]["python"]
    assert any(".ci/run" in step.get("run", "") for step in job["steps"])


def test_only_a_tag_publishes_and_only_what_was_checked():
    path = ROOT / ".github/workflows/pages.yml"
    assert read(path)["on"] == {"push": {"tags": ["v*"]}}
    words = [step.get("run", step.get("uses")) for step in steps(path)]
    checked = next(i for i, text in enumerate(words) if ".ci/run" in text)
    deployed = next(i for i, text in enumerate(words) if "deploy-pages" in text)
    assert checked < deployed
    release = next(text for text in words if "gh release create" in text)
    assert {"manifest.json", "SHA256SUMS"} <= set(release.split())


def test_links_are_checked_every_week():
    ((when,),) = (
        entry.values()
        for entry in read(ROOT / ".github/workflows/links.yml")["on"]["schedule"]
    )
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", when)


# --- Binder ---------------------------------------------------------------------------

ONLY_FOR_TESTS = {
    *("axe-playwright-python", "playwright", "greenlet", "ruff"),
    *("pytest", "pytest-xdist", "execnet", "iniconfig", "pluggy"),
}


def pins(path):
    return dict(line.split("==") for line in path.read_text().split())


def test_binder_has_the_pins_of_the_project_without_tests_and_gpu_libraries():
    ours = pins(ROOT / "requirements.txt")
    wanted = {k: v for k, v in ours.items() if k not in {"torch", *ONLY_FOR_TESTS}}
    assert pins(ROOT / ".binder" / "requirements.txt") == wanted
    assert ours.keys() >= ONLY_FOR_TESTS
    environment = yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text())
    *conda, last = environment["dependencies"]
    assert any(name.startswith("pytorch-cpu") for name in conda)
    assert last == {"pip": ["-r requirements.txt"]}


def test_binder_makes_notebooks_of_the_pages():
    path = ROOT / ".binder" / "postBuild"
    assert os.access(path, os.X_OK)
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0


# --- citation -------------------------------------------------------------------------

PERSON = {"family-names", "given-names"}
ENTITY = {"name"}


def cited():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_every_author_is_a_person_or_an_entity():
    citation = cited()
    works = [citation, citation["preferred-citation"], *citation["references"]]
    for work in works:
        for author in work["authors"]:
            assert author.keys() in (PERSON, ENTITY)


def test_both_papers_are_cited_as_the_bibliography_has_them():
    bib = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    plain = re.sub(r"\s+", " ", re.sub("[{}]", "", bib)).lower()
    for work in cited()["references"]:
        assert re.sub(r"\s+", " ", work["title"]).lower() in plain
        assert str(work["year"]) in bib
        for author in work["authors"]:
            assert author["family-names"].lower() in plain
        if "doi" in work:
            assert work["doi"] in bib
