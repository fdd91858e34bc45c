"""The meaning of every column of the published files, and the command that tells it."""

import gzip
import json
import re

import numpy as np
import pytest

from msa.cli import main
from msa.data.paths import repo_root, results_dir
from msa.report import columns
from msa.study.layout import FIELDS


def published():
    """Yield every published column, and those that a run may still bring along."""
    for file in columns.published_files():
        for column in columns.columns_of(results_dir() / file):
            yield file, column
    for field in FIELDS:
        yield "runs.csv", field


def test_every_published_column_has_a_meaning():
    assert {each for each in published() if columns.place_of(*each) is None} == set()


def test_every_meaning_has_a_column():
    if not columns.published_files():
        pytest.skip("no published results")
    used = {columns.place_of(*each) for each in published()}
    written = {(s, key) for s, known in columns.meanings().items() for key in known}
    assert written - used == set()


def test_meanings_are_sentences():
    for section, known in columns.meanings().items():
        for key, meaning in known.items():
            assert meaning.strip().endswith("."), (section, key)


@pytest.mark.parametrize(
    ("file", "column", "place"),
    [
        ("runs.csv", "dataset", ("*", "dataset")),
        ("audit/gains.csv", "dataset", ("audit/*", "dataset")),
        ("audit/gains.csv", "gain", ("audit/gains.csv", "gain")),
        ("runs.csv", "train_MAE", ("runs.csv", "train_*")),
        ("runs.csv", "train_rates", ("runs.csv", "train_rates")),
        ("passport/a--b/lengths.csv", "q05", ("passport/*/lengths.csv", "q*")),
        ("runs.csv", "something_new", None),
    ],
)
def test_the_meaning_in_the_narrowest_place_counts(file, column, place):
    assert columns.place_of(file, column) == place


def test_columns_of_every_kind_of_file_are_read(tmp_path):
    (tmp_path / "a.csv").write_text("run_id,new\n1,2\n")
    with gzip.open(tmp_path / "b.csv.gz", "wt") as file:
        file.write("epoch,split\n")
    (tmp_path / "c.json").write_text(json.dumps({"x": {"cpu": 1}, "y": {"gpu": 2}}))
    np.savez(tmp_path / "d.npz", first=np.zeros(2))
    (tmp_path / "README.md").write_text("none")
    found = {
        name: columns.columns_of(tmp_path / name)
        for name in columns.published_files(tmp_path)
    }
    assert found == {
        "a.csv": ["run_id", "new"],
        "b.csv.gz": ["epoch", "split"],
        "c.json": ["cpu", "gpu"],
        "d.npz": ["first"],
    }
    assert columns.described("a.csv", tmp_path)["new"] == columns.NOT_DESCRIBED


def test_the_command_tells_the_columns_of_a_file_in_its_order(capsys):
    if "claims.csv" not in columns.published_files():
        pytest.skip("no published results")
    assert main(["study", "columns", "results/claims.csv", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out).values()
    assert list(told) == columns.columns_of(results_dir() / "claims.csv")
    assert main(["study", "columns", "claim.csv"]) == 2
    assert "claims.csv" in capsys.readouterr().err
    assert main(["study", "columns"]) == 0
    assert "  test_*: Score on the test split" in capsys.readouterr().out


def test_the_example_of_the_page_does_not_mix_settings():
    if "summary.csv" not in columns.published_files():
        pytest.skip("no published results")
    page = (repo_root() / "book" / "appendix" / "ledger.md").read_text("utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    imports, *lines = filter(None, example.splitlines())
    names = {}
    exec(imports, names)
    summary, pairs = (eval(line, names) for line in lines)
    assert len(summary) > 0
    assert not summary.duplicated(["model", "variant", "missing_rate"]).any()
    assert len(pairs) > 0
    assert not pairs.duplicated(["view", "first", "second", "metric"]).any()


def test_the_table_of_the_page_has_every_meaning_once():
    table = columns.column_table().data
    assert len(table) == sum(map(len, columns.meanings().values()))
    assert not table.duplicated(["File", "Column"]).any()
