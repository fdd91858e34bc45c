"""The built book in a real browser: Chromium, headless, without any network.

``MSA_BOOK`` names the folder of the built book, as ``make check`` does. Reading all of
it takes minutes, so ``make test`` leaves it out.
"""

from __future__ import annotations

import base64
import csv
import functools
import io
import json
import os
import re
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote_to_bytes

import nbformat
import pytest

from msa.data.paths import results_dir
from msa.report.site import source_checksum

CHROMIUM = next(
    filter(
        None,
        map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")),
    ),
    None,
)
pytestmark = [
    pytest.mark.skipif(
        "MSA_BOOK" not in os.environ,
        reason="reads the built book: `make book`, then `make check`",
    ),
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="no Chromium here: install it (Debian: chromium) to check the book",
    ),
    pytest.mark.xdist_group("browser"),  # one server, one browser
]

EXPLORE = "book/experiments/explore.html"
SWEEP = "book/experiments/mosi-sweep.html"
LIMIT_MB = 1.5
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


# --- the book, a server, a browser ----------------------------------------------------


@pytest.fixture(scope="module")
def book():
    """Return the folder of the built book."""
    return Path(os.environ["MSA_BOOK"]).resolve()


@pytest.fixture(scope="module")
def pages(book):
    """Return every page of the book, relative to its folder, the search page too."""
    found = sorted(
        p.relative_to(book).as_posix() for p in (book / "book").rglob("*.html")
    )
    assert found, f"there is no page in {book}"
    return [*found, "search.html"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(book):
    """Serve the book on this machine; return where."""
    handler = functools.partial(Quiet, directory=str(book))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        # Everything that is not on this machine has no address.
        rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", rules]
        started = play.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture
def tab(browser):
    """Return a function that opens an empty tab, and close all at the end."""
    contexts = []

    def opened(mode="light", viewport=DESK):
        context = browser.new_context(viewport=viewport, color_scheme=mode)
        context.add_init_script(
            f"localStorage.setItem('mode', '{mode}');"
            f"localStorage.setItem('theme', '{mode}');"
        )
        contexts.append(context)
        return context.new_page()

    yield opened
    for context in contexts:
        context.close()


def complaints_of(tab):
    """Collect what goes wrong in a tab from now on."""
    complaints = []
    tab.on("pageerror", lambda error: complaints.append(f"script: {error}"))
    tab.on(
        "console",
        lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None,
    )
    tab.on(
        "requestfailed",
        # what is given up because the next page is opened is no fault of this one
        lambda r: (
            complaints.append(f"{r.failure}: {r.url[:120]}")
            if r.failure != "net::ERR_ABORTED"
            else None
        ),
    )
    tab.on(
        "response",
        lambda r: complaints.append(f"{r.status}: {r.url}") if r.status >= 400 else 0,
    )
    return complaints


def visit(tab, url):
    tab.goto(url, wait_until="load")
    # Formulas are set after loading; a page without any does not have MathJax.
    tab.evaluate("() => window.MathJax?.startup?.promise?.then(() => null) ?? null")


# --- every page -----------------------------------------------------------------------

# What a page is asked, in the light on a desk.
QUESTIONS = {
    "formulas": "document.querySelectorAll('.math').length",
    "unset": """[...document.querySelectorAll('.math')]
        .filter(m => !m.querySelector('mjx-container') || m.querySelector('mjx-merror'))
        .map(m => m.textContent)""",
    "wordless": """[...document.images]
        .filter(i => !i.alt.trim() || i.naturalWidth === 0)
        .map(i => i.outerHTML.slice(0, 99))""",
    "levels": """[...document.querySelectorAll('main :is(h1, h2, h3, h4, h5, h6)')]
        .filter(h => h.checkVisibility()).map(h => Number(h.tagName[1]))""",
    "links": """[...document.querySelectorAll('a[href]')]
        .map(a => a.href).filter(h => h.startsWith(location.origin))""",
    "tables": """[...document.querySelectorAll('figure:has(> div .msa-numbers)')]
        .map(f => ({csv: f.querySelector('.msa-downloads a').href,
                    cells: [...f.querySelectorAll('td')].map(c => c.textContent)}))""",
}
SEE_THROUGH = """[...document.querySelectorAll('.msa-figure img')]
    .filter(i => getComputedStyle(i).backgroundColor !== 'rgb(255, 255, 255)')
    .map(i => i.alt)"""
TO_THE_DARK = "Object.assign(document.documentElement.dataset, {theme: 'dark'})"


def violations(tab, rules):
    """Return what axe-core finds, a line for each element."""
    from axe_playwright_python.sync_playwright import Axe

    # Without its preloading, which asks for style sheets on its own.
    options = {"runOnly": rules, "resultTypes": ["violations"], "preload": False}
    found = Axe().run(tab, options=options).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for rule in found
        for node in rule["nodes"][:3]
    ]


@pytest.fixture(scope="module")
def visits(browser, address, pages):
    """Visit every page once and return, by page, what there is to say about it."""
    context = browser.new_context(viewport=DESK, color_scheme="light")
    tab, found = context.new_page(), {}
    complaints, asked = complaints_of(tab), []
    tab.on("request", lambda request: asked.append(request.url))
    for name in pages:
        visit(tab, address + name)
        seen = {key: tab.evaluate(question) for key, question in QUESTIONS.items()}
        seen["light"] = violations(tab, ["wcag2a", "wcag2aa"])
        tab.add_style_tag(content="* {transition: none !important}")
        tab.evaluate(TO_THE_DARK)
        seen["dark"] = violations(tab, {"type": "rule", "values": ["color-contrast"]})
        seen["see-through"] = tab.evaluate(SEE_THROUGH)
        tab.set_viewport_size(PHONE)
        seen["width"] = tab.evaluate("document.documentElement.scrollWidth")
        tab.set_viewport_size(DESK)
        seen["complaints"], seen["asked"] = complaints[:], asked[:]
        complaints.clear()
        asked.clear()
        found[name] = seen
    context.close()
    return found


def wrong(visits, look):
    """Return what ``look`` finds wrong, by page, without the pages that are right."""
    found = {name: look(seen) for name, seen in visits.items()}
    return {name: finding for name, finding in found.items() if finding}


def test_every_page_loads_without_a_complaint(visits):
    assert wrong(visits, lambda seen: seen["complaints"]) == {}


def test_no_page_asks_another_host(visits, address):
    def strangers(seen):
        return [u[:99] for u in seen["asked"] if not u.startswith((address, "data:"))]

    assert wrong(visits, strangers) == {}


def test_every_page_loads_from_the_disk(tab, book, pages):
    page = tab()
    complaints = complaints_of(page)
    for name in pages:
        visit(page, (book / name).as_uri())
    assert complaints == []


def test_the_top_of_the_book_leads_to_the_front_page(tab, address):
    page = tab()
    page.goto(address, wait_until="commit")
    page.wait_for_url("**/book/index.html")
    assert page.locator("main h1:visible").inner_text().startswith("[Re]")


def test_no_page_is_heavy_without_its_figures(book, pages):
    heavy = {}
    for name in pages:
        text = (book / name).read_text(encoding="utf-8")
        text = re.sub(r'"data:(image|application/pdf)[^"]*"', '""', text)
        if (size := len(text.encode()) / 1e6) > LIMIT_MB:
            heavy[name] = size
    assert heavy == {}


def test_no_page_shows_the_name_of_a_python_object(book, pages):
    told = re.compile(r"&lt;[A-Za-z_]+(\.[A-Za-z_]+)+ object|object at 0x")
    found = [page for page in pages if told.search((book / page).read_text())]
    assert found == []


def test_every_formula_is_set(visits):
    assert sum(seen["formulas"] for seen in visits.values()) > 0
    assert wrong(visits, lambda seen: seen["unset"]) == {}


def test_only_pages_with_a_formula_load_mathjax(visits):
    def loads(seen):
        return any("mathjax" in url for url in seen["asked"])

    assert wrong(visits, lambda seen: loads(seen) != (seen["formulas"] > 0)) == {}


def test_every_picture_has_words(visits):
    assert wrong(visits, lambda seen: seen["wordless"]) == {}


def test_headings_are_in_order(visits):
    def disorder(seen):
        levels = seen["levels"]
        one_title = levels[:1] == [1] and levels.count(1) == 1
        steps = all(b - a <= 1 for a, b in pairwise(levels))
        return [] if one_title and steps else levels or "no heading"

    assert wrong(visits, disorder) == {}


def test_a_phone_needs_no_scrolling_to_the_side(visits):
    def excess(seen):
        return max(0, seen["width"] - PHONE["width"])

    assert wrong(visits, excess) == {}


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_contrast_and_structure_pass_the_rules_of_axe(visits, mode):
    assert wrong(visits, lambda seen: seen[mode]) == {}


def test_axe_would_find_a_pale_text(tab, address):
    page = tab()
    visit(page, address + "book/index.html")
    page.evaluate("document.querySelector('main p').style.color = '#bbbbbb'")
    assert any("color-contrast" in line for line in violations(page, ["wcag2aa"]))


def test_figures_stay_on_white_in_the_dark(visits):
    assert wrong(visits, lambda seen: seen["see-through"]) == {}


def test_the_book_remembers_the_dark(tab, address):
    page = tab("dark")
    visit(page, address + "book/index.html")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_local_links_lead_somewhere(visits, address, book):
    def leads(path):
        return (book / unquote_to_bytes(path).decode()).is_file()

    def dead(seen):
        paths = {url.removeprefix(address) for url in seen["links"]}
        files = {path.partition("#")[0].partition("?")[0] for path in paths} - {""}
        return sorted(file for file in files if not leads(file))

    assert wrong(visits, dead) == {}


# --- search ---------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["server", "disk"])
def test_search_finds_auilc(tab, address, book, place):
    start = address if place == "server" else book.as_uri() + "/"
    page = tab()
    page.goto(f"{start}search.html?q=AUILC")
    page.locator("#search-results li a").first.wait_for(timeout=20_000)
    page.locator("#search-results li a").first.click()
    page.wait_for_load_state()
    assert "AUILC" in page.locator("main").inner_text()


def test_the_search_field_leads_to_the_search_page(tab, address):
    page = tab()
    visit(page, address + "book/index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("AUILC")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=AUILC*")
    page.locator("#search-results li a").first.wait_for(timeout=20_000)


# --- tables ---------------------------------------------------------------------------


def column(table, number):
    return table.evaluate(
        "(t, n) => [...t.tBodies[0].rows].filter(r => !r.hidden)"
        ".map(r => r.cells[n].innerText.trim())",
        number,
    )


def leading(text):
    return float(re.match(r"[-\d.]+", text).group())


@pytest.fixture
def scores(tab, address):
    """Return the table of scores of the sweep: by rate, by system."""
    page = tab()
    visit(page, address + SWEEP)
    return page.locator("table#T_mosi-scores")


def test_a_table_sorts_by_number_both_ways_and_back(scores):
    original = column(scores, 3)
    head = scores.locator("th").nth(3)
    numbers = [leading(text) for text in original]
    assert numbers != sorted(numbers)
    for direction, expected in (
        ("ascending", sorted(numbers)),
        ("descending", sorted(numbers, reverse=True)),
    ):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == direction
        assert [leading(text) for text in column(scores, 3)] == expected
    head.locator("button").click()
    assert column(scores, 3) == original


def test_undefined_values_stay_last(scores):
    corr = scores.locator("th").count() - 2  # the last column has the commands
    assert "Corr" in scores.locator("th").nth(corr).inner_text()
    undefined = column(scores, corr).count("–")
    assert undefined > 0
    for _ in range(2):
        scores.locator("th").nth(corr).locator("button").click()
        assert column(scores, corr)[-undefined:] == ["–"] * undefined


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (["0.79", "0.9", "1"], ["2 of 11 rates", "measured apart", "–"]),
        (["136", "2.96 k", "9.72 M", "83.2 M", "1.6 G"], ["–"]),
    ],
)
def test_numbers_sort_by_size_and_words_in_their_place_stay_last(
    tab, book, tmp_path, numbers, words
):
    rows = "".join(f"<tr><td>{text}</td></tr>" for text in [*words, *sorted(numbers)])
    script = (book / "_static" / "msa-tables.js").read_text(encoding="utf-8")
    file = tmp_path / "page.html"
    file.write_text(
        '<meta charset="utf-8"><table class="msa-table"><thead><tr><th>MAE</th></tr>'
        f"</thead><tbody>{rows}</tbody></table><script>{script}</script>",
        encoding="utf-8",
    )
    page = tab()
    page.goto(file.as_uri())
    for expected in (numbers, numbers[::-1]):
        page.locator("button").click()
        assert column(page.locator("table"), 0) == [*expected, *words]


def test_a_long_table_filters_by_all_words(scores):
    box = scores.locator("xpath=ancestor::figure").locator(".msa-filter")
    total = len(column(scores, 1))
    ours = column(scores, 1).count("TFR-Net")
    box.locator("input").fill("clip-context tfr")
    assert column(scores, 1) == ["TFR-Net"] * ours
    assert 0 < ours < total
    assert f"{ours} of {total}" in box.inner_text()
    box.locator("input").fill("")
    assert len(column(scores, 1)) == total


def test_best_and_second_best_are_marked(scores):
    weights = scores.locator("td.best").evaluate_all(
        "cells => cells.map(c => getComputedStyle(c).fontWeight)"
    )
    lines = scores.locator("td.second").evaluate_all(
        "cells => cells.map(c => getComputedStyle(c).textDecorationLine)"
    )
    assert set(weights) == {"700"}
    assert set(lines) == {"underline"}


def test_a_table_can_be_cited(scores):
    figure = scores.locator("xpath=ancestor::figure")
    figure.locator(".msa-cite summary").click()
    entry = figure.locator(".msa-cite pre").inner_text()
    assert entry.startswith("@misc{msa-mosi-scores,")
    assert "[Re]" in entry


# --- curves to choose from ------------------------------------------------------------


@pytest.fixture
def curves(tab, address):
    """Return the figure whose data set and metric can be chosen."""
    page = tab()
    visit(page, address + EXPLORE)
    return page.locator("figure.msa-explorer")


def test_the_curves_show_the_stored_means(curves):
    data = curves.locator("select").first
    mosi = next(t for t in data.locator("option").all_inner_texts() if "MOSI," in t)
    data.select_option(label=mosi)
    curves.locator("input[type=range]").fill("0")
    caption = curves.locator("table caption").inner_text()
    assert caption == "MAE (label units) at missing rate 0.0, best first"
    rows = curves.locator("table tbody tr").all_inner_texts()
    shown = [row.split("\t")[:2] for row in rows]
    stored = {
        (row["model"], f"{float(row['mean']):.3f}")
        for row in store("summary.csv")
        if of_sweep(row) and row["metric"] == "MAE" and float(row["missing_rate"]) == 0
    }
    assert len(shown) > 1
    assert {(system.strip(), mean.strip()) for system, mean in shown} <= stored
    means = [float(mean) for _, mean in shown]
    assert means == sorted(means)


def test_the_pointer_chooses_the_rate_and_the_list_the_metric(curves):
    chart = curves.locator("svg")
    box = chart.bounding_box()
    middle = box["y"] + box["height"] / 2
    curves.page.mouse.move(box["x"] + box["width"] - 12, middle)
    caption = curves.locator("table caption")
    assert "at missing rate 1.0" in caption.inner_text()
    lines = curves.locator("polyline").count()
    curves.locator("select").nth(1).select_option(label="Acc-7 (%)")
    assert caption.inner_text() == "Acc-7 (%) at missing rate 1.0, best first"
    means = [float(m) for m in curves.locator("td:nth-child(2)").all_inner_texts()]
    assert means == sorted(means, reverse=True)
    assert curves.locator("polyline").count() == lines
    assert "higher is better" in chart.get_attribute("aria-label")


def test_print_shows_the_static_curves(curves):
    assert not curves.locator("img").is_visible()
    curves.page.emulate_media(media="print")
    assert curves.locator("img").is_visible()
    assert not curves.locator("svg").is_visible()


# --- downloads ------------------------------------------------------------------------


def downloaded(page, link):
    with page.expect_download() as waiting:
        link.click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_downloads_deliver_what_they_say(tab, address):
    page = tab()
    visit(page, address + SWEEP)
    table = page.locator("figure.msa-table-box").first.locator(".msa-downloads a")
    name, content = downloaded(page, table.get_by_text("CSV"))
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert name.endswith(".csv")
    assert rows
    assert None not in rows[0], "a row has more cells than the head"
    name, content = downloaded(page, table.get_by_text("LaTeX"))
    assert name.endswith(".tex")
    assert rb"\begin{tabular}" in content
    assert rb"\toprule" in content
    picture = page.locator("figure.msa-figure").first.locator(".msa-downloads a")
    name, content = downloaded(page, picture.get_by_text("SVG"))
    assert name.endswith(".svg")
    assert b"<svg" in content[:1000]
    name, content = downloaded(page, picture.get_by_text("PDF"))
    assert name.endswith(".pdf")
    assert content.startswith(b"%PDF")


def test_a_page_that_runs_can_be_downloaded_as_a_notebook(tab, address):
    page = tab()
    visit(page, address + SWEEP)
    name, content = downloaded(page, page.locator(".msa-rerun a").first)
    assert name == "mosi-sweep.ipynb"
    notebook = nbformat.reads(content.decode(), as_version=4)
    nbformat.validate(notebook)
    assert any("parameters" in c.metadata.get("tags", []) for c in notebook.cells)


# --- numbers --------------------------------------------------------------------------


def store(name):
    with (results_dir() / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def of_sweep(row):
    return (row["dataset"], row["view"]) == ("mosi", "clip-context")


def test_the_scores_of_the_page_are_those_of_the_store(tab, address, scores):
    heads = scores.locator("th").all_inner_texts()
    mae = next(i for i, head in enumerate(heads) if head.startswith("MAE"))
    printed = {
        (rate, system): leading(cell)
        for rate, system, cell in zip(
            column(scores, 0), column(scores, 1), column(scores, mae), strict=True
        )
    }
    stored = {
        (f"{float(row['missing_rate']):.1f}", row["model"], f"{float(row['mean']):.3f}")
        for row in store("summary.csv")
        if of_sweep(row) and row["metric"] == "MAE"
    }
    assert printed
    for (rate, system), value in printed.items():
        assert (rate, system, f"{value:.3f}") in stored


def test_every_run_of_the_page_is_in_the_store(tab, address):
    page = tab()
    visit(page, address + SWEEP)
    link = page.locator("a[download='mosi-runs.csv']")
    content = base64.b64decode(link.get_attribute("href").partition(",")[2])
    shown = list(csv.DictReader(io.StringIO(content.decode())))
    stored = {row["run_id"]: row for row in store("runs.csv")}
    assert shown
    for row in shown:
        assert float(row["test_MAE"]) == float(stored[row["run_id"]]["test_MAE"])


def test_tables_and_their_downloads_say_the_same(visits):
    """The first number of a table of numbers is in its CSV, rounded as printed."""

    def differs(seen):
        found = []
        for table in seen["tables"]:
            content = base64.b64decode(table["csv"].partition(",")[2]).decode()
            rows = csv.reader(io.StringIO(content))
            values = {v for row in rows for v in map(as_float, row) if v is not None}
            numbers = (
                re.match(r"\s*\+?(-?\d+\.\d{2,})(?! [MGk])", c) for c in table["cells"]
            )
            text = next((n.group(1) for n in numbers if n), None)
            if text is None:
                continue
            places = len(text.partition(".")[2])
            known = {f"{v * unit:.{places}f}" for v in values for unit in (1, 100)}
            if text not in known:
                found.append(table["cells"][:6])
        return found

    assert any(seen["tables"] for seen in visits.values())
    assert wrong(visits, differs) == {}


def as_float(text):
    try:
        return float(text)
    except ValueError:
        return None


def test_the_book_says_what_it_was_built_from(book):
    manifest = json.loads((book / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["sources"] == source_checksum(), "build it again: `make book`"
    assert manifest["environment"]["commit"]
