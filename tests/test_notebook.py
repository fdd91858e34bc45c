"""Running a page with other parameters: what is refused, and what is reported."""

from __future__ import annotations

import nbformat
import papermill
import pytest

from msa.report.notebook import (
    NotebookError,
    checked_parameters,
    parameters_of,
    read_page,
    run_notebook,
)

PAGE = """---
kernelspec:
  name: python3
  display_name: Python 3
---

# A page

```{{code-cell}} ipython3
:tags: [parameters]

rate: float = 0.5  # missing rate, 0 to 1
names: list[str] = ["a", "b"]
limit: int | None = None
quick: bool = True
```

```{{code-cell}} ipython3
{body}
```
"""


@pytest.fixture
def page(tmp_path):
    """Return a function that writes a page with one cell behind the parameters."""

    def write(body):
        path = tmp_path / "page.md"
        path.write_text(PAGE.format(body=body))
        return path

    return write


def cell(source):
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})]
    )


def test_the_parameters_cell_is_read_with_types_defaults_and_comments(page):
    found = parameters_of(read_page(page("1")))
    assert list(found) == ["rate", "names", "limit", "quick"]
    assert found["rate"].default == 0.5
    assert found["rate"].help == "missing rate, 0 to 1"
    assert found["limit"].default is None


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rate", "1e-1", 0.1),
        ("rate", "1", 1.0),
        ("names", "a", ["a"]),
        ("names", "[no, 'b']", ["no", "b"]),
        ("limit", "7", 7),
        ("limit", "none", None),
        ("quick", "false", False),
    ],
)
def test_command_line_texts_become_the_type_of_the_parameter(page, name, text, value):
    checked = checked_parameters("page", read_page(page("1")), {name: text})
    assert checked == {name: value}
    assert type(checked[name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text"), [("rate", "half"), ("limit", "1.5"), ("quick", "perhaps")]
)
def test_a_value_of_the_wrong_type_is_refused(page, name, text):
    with pytest.raises(NotebookError, match=f"{name}.*{text}.*by default"):
        checked_parameters("page", read_page(page("1")), {name: text})


def test_an_unknown_parameter_is_refused_and_the_known_ones_are_listed(page, tmp_path):
    output = tmp_path / "out.ipynb"
    with pytest.raises(NotebookError, match=r"'ratee'.*\n.*rate = 0.5.*\n.*names"):
        run_notebook(page("print(rate)"), {"ratee": 0.1}, output)
    assert not output.exists()


@pytest.mark.parametrize(
    "source", ["x = 1 + y", "import os", "x: int = len([1])", "x = y = 2"]
)
def test_a_parameters_cell_may_hold_only_literals(source):
    with pytest.raises(NotebookError, match="only hold"):
        parameters_of(cell(source))


def test_an_annotation_that_means_nothing_is_refused():
    with pytest.raises(NotebookError, match="'number'"):
        parameters_of(cell("x: number = 2"))


def test_a_page_runs_with_the_given_value_and_says_where_it_went(
    page, tmp_path, capsys
):
    output = tmp_path / "deep" / "out.ipynb"
    assert run_notebook(page("print(rate, limit)"), {"rate": "0.25"}, output) == output
    executed = nbformat.read(output, as_version=4)
    assert executed.cells[-1].outputs[0].text == "0.25 None\n"
    assert str(output) in capsys.readouterr().out


def test_a_failing_cell_is_an_error_that_shows_the_cause(page, tmp_path):
    with pytest.raises(NotebookError, match="KeyError: 'gone'") as caught:
        run_notebook(page("{}['gone']"), {}, tmp_path / "out.ipynb")
    assert "out.ipynb" in str(caught.value)


def test_a_cell_that_exits_with_an_error_output_is_not_a_success(
    page, tmp_path, monkeypatch
):
    def half_run(notebook, output, **_):
        notebook.metadata["papermill"] = {"exception": True}
        nbformat.write(notebook, output)

    monkeypatch.setattr(papermill, "execute_notebook", half_run)
    with pytest.raises(NotebookError, match="did not finish"):
        run_notebook(page("1"), {}, tmp_path / "out.ipynb")


def test_a_kernel_that_lost_its_port_is_started_again(page, tmp_path, monkeypatch):
    starts = []

    def unlucky(notebook, output, **_):
        starts.append(output)
        if len(starts) == 1:
            raise RuntimeError("Kernel died before replying to kernel_info")
        nbformat.write(notebook, output)

    monkeypatch.setattr(papermill, "execute_notebook", unlucky)
    run_notebook(page("1"), {}, tmp_path / "out.ipynb")
    assert len(starts) == 2


def test_a_kernel_that_never_starts_ends_with_one_sentence(page, tmp_path, monkeypatch):
    def dead(*_, **__):
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(papermill, "execute_notebook", dead)
    with pytest.raises(NotebookError, match="could not be run: RuntimeError"):
        run_notebook(page("1"), {}, tmp_path / "out.ipynb")


def test_a_missing_page_names_the_pages_there_are():
    with pytest.raises(NotebookError, match=r"nowhere\.md.*book/index\.md"):
        run_notebook("nowhere.md")


def test_the_output_must_be_a_notebook_file(page):
    with pytest.raises(NotebookError, match=r"must be an \.ipynb file"):
        run_notebook(page("1"), {}, "out.md")


def test_an_output_folder_that_cannot_be_made_is_named(page, tmp_path):
    (tmp_path / "taken").write_text("where a folder should be")
    target = tmp_path / "taken" / "out.ipynb"
    with pytest.raises(NotebookError, match=f"be written to {target}.* with -o"):
        run_notebook(page("1"), {}, target)
