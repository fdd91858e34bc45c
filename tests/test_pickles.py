"""Untrusted pickles: what is refused, what is validated, what the messages say."""

import builtins
import io
import os
import pickle
import re
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch

from msa.data.load import load
from msa.data.paths import repo_root
from msa.data.pickles import DataError, RefusedPickle, read_pickle, unwrap


class Calls:
    """An object whose unpickling calls a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_command_is_refused_by_name_and_not_run(tiny_file, tmp_path, protocol):
    trace = tmp_path / "trace"

    def plant(content):
        content["test"]["id"] = Calls(os.system, f"touch {trace}")

    root = tiny_file(plant, protocol=protocol)
    # os.system lives in the module posix (nt on Windows)
    with pytest.raises(RefusedPickle, match=rf"clip_context.pkl.*{os.name}.system"):
        load("mosi", root=root)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (builtins.eval, "builtins.eval"),
        (builtins.getattr, "builtins.getattr"),
        (np.fromfile, "numpy.*fromfile"),
        (torch.Tensor, "torch.*Tensor"),
    ],
)
def test_anything_but_arrays_and_containers_is_refused(function, name):
    stream = io.BytesIO(pickle.dumps(Calls(function, "x")))
    with pytest.raises(RefusedPickle, match=name):
        read_pickle(stream, "file.pkl")


@pytest.mark.parametrize(
    ("column", "name"),
    [(torch.zeros(2), "torch"), (pd.Series([0.0, 1.0]), "pandas")],
)
def test_whose_own_file_is_refused_learns_what_to_save(tiny_file, column, name):
    root = tiny_file(_replace("valid", "regression_labels", column))
    with pytest.raises(RefusedPickle, match=rf"asks for {name}.* as numpy arrays$"):
        load("mosi", root=root)


class Forged:
    """An array of objects whose elements are given as raw bytes, as if addresses."""

    def __reduce__(self):
        rebuild, arguments, state = np.array([None]).__reduce__()
        version, shape, dtype, fortran, _elements = state
        return rebuild, arguments, (version, shape, dtype, fortran, b"A" * 8)


def test_bytes_never_become_the_addresses_of_objects():
    forged = read_pickle(io.BytesIO(pickle.dumps(Forged())), "file.pkl")
    with pytest.raises(TypeError, match="array of objects"):
        unwrap(forged)


def test_a_damaged_array_is_named_like_any_other_fault(tiny_file):
    root = tiny_file(_replace("valid", "audio", Forged()))
    with pytest.raises(DataError, match=r"'valid', key 'audio': the array is damaged"):
        load("mosi", root=root)


def test_record_arrays_are_refused():
    record = np.zeros(2, dtype=[("a", "f4")])
    with pytest.raises(RefusedPickle, match="V4"):
        read_pickle(io.BytesIO(pickle.dumps(record)), "file.pkl")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(3, dtype=">i4"),
        np.array([True, False]),
        np.array(["one", "drei"]),
        np.array(["one", None], dtype=object),
        np.array(7.5),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_arrays_survive_every_protocol(array, protocol):
    stream = io.BytesIO(pickle.dumps(array, protocol=protocol))
    found = unwrap(read_pickle(stream, "file.pkl"))
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("scalar", [np.float32(0.5), np.int64(3), np.str_("clip")])
def test_scalars_become_plain_values(scalar, protocol):
    stream = io.BytesIO(pickle.dumps([scalar], protocol=protocol))
    assert read_pickle(stream, "file.pkl") == [scalar.item()]


@pytest.mark.parametrize("spelling", [b"numpy.core", b"numpy._core"])
def test_both_spellings_of_numpys_module_are_read(spelling):
    # Protocol 0 spells module names as plain text, which lets us write either.
    array = np.arange(3.0)
    text = pickle.dumps(array, protocol=0)
    assert b"numpy._core.multiarray" in text or b"numpy.core.multiarray" in text
    text = re.sub(rb"numpy\._?core", spelling, text)
    assert unwrap(read_pickle(io.BytesIO(text), "x")).tolist() == [0.0, 1.0, 2.0]


def test_builtin_containers_are_read():
    value = {
        "a": [1, (2.5, None)],
        "b": {"x"},
        "c": frozenset({3}),
        "d": bytearray(b"z"),
    }
    for protocol in range(6):
        assert read_pickle(io.BytesIO(pickle.dumps(value, protocol)), "x") == value


def test_a_cut_file_is_told_apart_from_a_hostile_one(tiny_file):
    root = tiny_file()
    path = root / "mosi" / "clip_context.pkl"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"clip_context\.pkl: not a readable pickle"):
        load("mosi", root=root)


def test_a_module_of_the_same_name_does_not_help(monkeypatch):
    # A name is refused even where an attribute of it would be allowed elsewhere.
    module = types.ModuleType("evil")
    module.dtype = np.dtype
    monkeypatch.setitem(sys.modules, "evil", module)
    with pytest.raises(RefusedPickle, match=r"evil\.dtype"):
        read_pickle(io.BytesIO(b"cevil\ndtype\n."), "x")


# Planted errors: how the content is broken, and what the message must say.
def _set(split, key, row, value):
    def edit(content):
        content[split][key][row] = value

    return edit


def _replace(split, key, value):
    def edit(content):
        content[split][key] = value

    return edit


def _drop(split, key):
    def edit(content):
        del content[split][key]

    return edit


PLANTED = {
    "NaN label": (
        _set("valid", "regression_labels", 1, np.nan),
        ["'valid'", "'regression_labels'", "row 1", "nan"],
    ),
    "label out of range": (
        _set("train", "regression_labels", 2, 3.5),
        ["'train'", "'regression_labels'", "row 2", "3.5", "-3 to 3"],
    ),
    "missing key": (
        _drop("test", "audio"),
        ["'test'", "'audio'", "missing", "vision"],
    ),
    "missing lengths": (
        _drop("train", "vision_lengths"),
        ["'train'", "'vision_lengths'", "missing"],
    ),
    "missing split": (lambda c: c.pop("valid"), ["'valid'", "missing"]),
    "length > T": (
        _set("test", "audio_lengths", 2, 6),
        ["'test'", "'audio_lengths'", "row 2", "6", "1 to 5"],
    ),
    "negative length": (
        _set("train", "vision_lengths", 3, -1),
        ["'train'", "'vision_lengths'", "row 3", "-1", "1 to 4"],
    ),
    "broken length": (
        _set("train", "vision_lengths", 0, 1.5),
        ["'train'", "'vision_lengths'", "row 0", "1.5"],
    ),
    "duplicate id": (
        _set("train", "id", 3, "trainvideo$_$1"),
        ["'train'", "'id'", "row 3", "'trainvideo$_$1'", "row 1"],
    ),
    "split overlap": (
        _set("test", "id", 0, "trainvideo$_$2"),
        ["'test'", "'id'", "row 0", "'trainvideo$_$2'", "'train'", "row 2"],
    ),
    "id of another type": (
        _set("train", "id", 1, 17),
        ["'train'", "'id'", "row 1", "int"],
    ),
    "texts that do not pair up": (
        _replace("valid", "raw_text", ["ONE"]),
        ["'valid'", "'raw_text'", "1 texts", "2 ids"],
    ),
    "wrong number of axes": (
        _replace("valid", "vision", np.zeros((2, 4), np.float32)),
        ["'valid'", "'vision'", "(2, any, any)", "(2, 4)"],
    ),
    "wrong number of rows": (
        _replace("test", "audio", np.zeros((2, 5, 2), np.float32)),
        ["'test'", "'audio'", "(3, any, any)", "(2, 5, 2)"],
    ),
    "features as strings": (
        _replace("test", "audio", np.full((3, 5, 2), "a")),
        ["'test'", "'audio'", "numbers", "U1"],
    ),
    "ragged features": (
        _replace("test", "audio", [[[1.0]], [[1.0], [2.0]], [[1.0]]]),
        ["'test'", "'audio'", "array of numbers"],
    ),
    "width differs between splits": (
        _replace("valid", "vision", np.ones((2, 4, 9), np.float32)),
        ["'valid'", "'vision'", "(4, 9)", "(4, 3)", "'train'"],
    ),
    "two rows in text_bert": (
        _replace("train", "text_bert", np.ones((4, 2, 6), np.float32)),
        ["'train'", "'text_bert'", "(4, 3, any)", "(4, 2, 6)"],
    ),
    "broken token id": (
        _set("train", "text_bert", (2, 0, 1), 7.25),
        ["'train'", "'text_bert'", "row 2", "token id"],
    ),
    "token id out of range": (
        _set("valid", "text_bert", (0, 0, 3), 1e30),
        ["'valid'", "'text_bert'", "row 0", "token id"],
    ),
    "mask with a hole": (
        _set("test", "text_bert", (1, 1, 2), 0),
        ["'test'", "'text_bert'", "row 1", "mask"],
    ),
    "mask that is not binary": (
        _set("test", "text_bert", (0, 1, 2), 2),
        ["'test'", "'text_bert'", "row 0", "0 and 1"],
    ),
    "empty sentence": (
        _set("train", "text_bert", (3, 1), 0),
        ["'train'", "'text_bert'", "row 3", "mask"],
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_error_is_found_and_named(tiny_file, name):
    edit, words = PLANTED[name]
    with pytest.raises(DataError) as caught:
        load("mosi", root=tiny_file(edit))
    message = str(caught.value)
    assert [w for w in ["clip_context.pkl", *words] if w not in message] == [], message


@pytest.mark.parametrize("dataset", ["mosi", "mosei"])
@pytest.mark.parametrize(
    "edit",
    [
        lambda c: c.pop("valid"),
        _drop("test", "audio"),
        _set("test", "id", 0, "trainvideo$_$2"),
        _replace("valid", "vision", np.ones((2, 4, 9), np.float32)),
        _replace("test", "id", Calls(os.getcwd)),
    ],
)
def test_an_error_tells_files_of_the_same_name_apart(tiny_file, edit, dataset):
    root = tiny_file(edit, dataset=dataset, view="unaligned")
    with pytest.raises(DataError) as caught:
        load(dataset, "unaligned", root=root)
    path = f"{dataset.upper()}/Processed/unaligned_50.pkl: "
    assert str(caught.value).startswith(path)


def test_a_nan_in_a_unimodal_label_of_sims_is_found(tiny_file):
    root = tiny_file(_set("valid", "regression_labels_A", 0, np.nan), dataset="sims")
    with pytest.raises(DataError, match=r"'valid', key 'regression_labels_A', row 0"):
        load("sims", root=root)


def test_the_label_range_is_the_data_sets_own(tiny_file):
    edit = _set("train", "regression_labels", 0, -2.0)
    assert load("mosi", root=tiny_file(edit)).splits["train"].labels[0] == -2.0
    with pytest.raises(DataError, match=r"row 0.*-1 to 1"):
        load("sims", root=tiny_file(edit, dataset="sims"))


@pytest.mark.parametrize("content", [[1, 2], {"train": [1]}, np.zeros(2)])
def test_a_file_that_is_not_the_layout_is_refused(tiny_file, content):
    with pytest.raises(DataError, match="dictionary"):
        load("mosi", root=tiny_file(content=content))


@pytest.mark.parametrize(
    ("dataset", "view"),
    [("mosi", "unaligned"), ("mosi", "aligned"), ("sims", "unaligned")],
)
def test_the_page_lists_the_columns_that_a_file_of_ones_own_needs(
    tiny_file, dataset, view
):
    page = (repo_root() / "book" / "data.md").read_text("utf-8")
    _, _, section = page.partition("## Your own features")
    rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    if dataset != "sims":
        listed -= {f"regression_labels_{m}" for m in "TAV"}
    if view == "aligned":
        listed -= {"audio_lengths", "vision_lengths"}

    def keep_listed(content):
        for columns in content.values():
            for key in columns.keys() - listed:
                del columns[key]

    load(dataset, view, root=tiny_file(keep_listed, dataset, view))
    for key in listed:

        def forget(content, key=key):
            del content["train"][key]

        with pytest.raises(DataError, match=f"'{key}': the key is missing"):
            load(dataset, view, root=tiny_file(forget, dataset, view))
