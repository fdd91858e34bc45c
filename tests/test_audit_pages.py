"""The audit chapter: its figures, its tables and what its pages point to."""

import re
from itertools import pairwise

import matplotlib.pyplot as plt
import pytest

from msa.audit import figures, papers, tables
from msa.audit.checks import CHECKS
from msa.data.paths import repo_root
from msa.report.style import house_style, system_style

PAGES = repo_root() / "book" / "audit"
ORDER = ("index", *CHECKS)

FIGURES = (
    "granularity",
    "neutral_counts",
    "constants",
    "f1_plane",
    "one_definition",
    "derived_scores",
    "arrows",
    "noise",
    "class_shares",
)
TABLES = (
    "overview",
    "granularity",
    "table_2",
    "constant_scores",
    "majority",
    "systems",
    "rankings",
    "quoted_in_both",
    "derived_scores",
    "claims",
    "noise",
    "wins",
)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_labelled_and_shown_once(name):
    with house_style():
        drawing = getattr(figures, name)(system_style)
    assert plt.get_fignums() == []  # else a notebook would show it a second time
    assert drawing.alt.endswith(".")
    assert drawing.caption.endswith(".")
    assert "nan" not in drawing.alt
    named = [axis.get_xlabel() for axis in drawing.figure.axes]
    assert any(named)
    drawing.figure.draw_without_rendering()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_text_without_gaps(name):
    table = getattr(tables, name)()
    assert len(table) > 0
    assert not table.isna().any().any()
    assert not table.astype(str).isin(["nan", "None"]).any().any()


@pytest.mark.parametrize("check", CHECKS)
def test_loud_findings_are_readable(check):
    table = tables.loud(check)
    assert len(table) > 0
    assert not table.astype(str).isin(["nan", "None", "ok", "no-power"]).any().any()


def test_a_count_is_expected_without_decimals():
    told = tables.readable(papers.findings("data-statistics"))
    told = told[told["Printed"] != ""]  # what is not printed is a share
    assert told["Expected"].tolist() == told["Printed"].tolist()


@pytest.mark.parametrize("name", ORDER)
def test_a_page_has_its_parts_and_its_links_lead_somewhere(name):
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert "**What this page answers:**" in text
    assert "**In short:**" in text
    targets = re.findall(r"\]\(([^)#]+\.md)\)", text)
    targets += re.findall(r"\{download\}`[^<]*<([^>]+)>`", text)
    missing = [target for target in targets if not (PAGES / target).is_file()]
    assert missing == []


@pytest.mark.parametrize(("before", "page"), list(pairwise(ORDER)))
def test_a_page_ties_to_the_one_before_and_to_the_definitions(before, page):
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    assert f"({before}.md)" in text.split("## Method")[0]
    assert "(../protocol.md)" in text
    assert f"findings-{page}.csv" in text


def test_the_index_leads_to_every_page():
    text = (PAGES / "index.md").read_text(encoding="utf-8")
    assert all(f"({name}.md)" in text for name in CHECKS)
