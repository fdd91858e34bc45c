"""Reading MMSA pickles: nothing in them is executed, nothing in them is believed.

A pickle is a program. The reader here knows arrays and plain containers only, and even
these it rebuilds itself from their bytes, so that no state made by a stranger reaches
numpy. What comes out is validated against the MMSA layout before it becomes splits:
``train|valid|test -> raw_text, id, text_bert (N, 3, L), audio (N, T, d),
vision (N, T, d), audio_lengths, vision_lengths, regression_labels``.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from msa.data.contract import SPLITS, Split
from msa.data.registry import DataSource


class DataError(ValueError):
    """A data file that cannot be used; the message says where and what to do."""


class RefusedPickle(DataError):
    """A pickle that asks for something other than arrays and plain containers."""


class Repair(NamedTuple):
    """One kind of repair made while reading one column.

    Attributes
    ----------
    split, key : str
        The column.
    problem : str
        One of `PROBLEMS`.
    count : int
        Values, lengths or steps repaired.
    """

    split: str
    key: str
    problem: str
    count: int

    def __str__(self) -> str:
        return f"{self.split} {self.key}: {self.count} {PROBLEMS[self.problem]}"


PROBLEMS = {
    "not finite": "value(s) not finite (NaN or inf) set to 0",
    "empty": "length(s) of 0 read as 1 (an all-zero step)",
    "padding": "step(s) beyond the true length set to 0",
}
"""What the reader repairs, and how it says so."""


class _DType:
    """The recipe of an array's element type, as pickles spell it."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if not (isinstance(code, str) and re.fullmatch(r"[biufSUO]\d{0,6}", code)):
            raise RefusedPickle(f"the pickle holds an array of type {code!r}")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        # Beside the byte order the state repeats what the code says.
        self.order = {"<": "<", ">": ">"}.get(state[1], "=")

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(self.code).newbyteorder(self.order)


class _Array:
    """An array that is still bytes, or a list when its elements are objects."""

    def __setstate__(self, state: tuple) -> None:
        _version, self.shape, self.dtype, self.fortran, self.data = state

    def numpy(self) -> np.ndarray:
        dtype = self.dtype.numpy
        if dtype.kind == "O":
            if not isinstance(self.data, list):
                raise TypeError("an array of objects is not given as a list")
            flat = np.empty(len(self.data), dtype=object)
            flat[:] = self.data
        else:
            flat = np.frombuffer(self.data, dtype)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    """Stand in for numpy's empty array, which the pickle fills in afterwards."""
    return _Array()


def _frombuffer(
    data: bytes | bytearray, dtype: _DType, shape: tuple[int, ...], order: str
) -> _Array:
    """Stand in for the constructor that pickle protocol 5 uses."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype: _DType, data: bytes) -> Any:
    """Stand in for the constructor of a single number or string."""
    return np.frombuffer(data, dtype.numpy, count=1)[0].item()


def _latin_bytes(text: str, encoding: str) -> bytes:
    """Stand in for the way that old protocols spell bytes."""
    return text.encode("latin-1")


_ALLOWED = {
    "numpy.ndarray": object(),  # a mere name: only _reconstruct is ever given it
    "numpy.dtype": _DType,
    "_codecs.encode": _latin_bytes,
    **{
        f"numpy.{core}.{name}": stand_in
        for core in ("core", "_core")  # numpy 2 renamed the module
        for name, stand_in in (
            ("multiarray._reconstruct", _reconstruct),
            ("multiarray.scalar", _scalar),
            ("numeric._frombuffer", _frombuffer),
        )
    },
    **{
        f"{module}.{kind.__name__}": kind
        for module in ("builtins", "__builtin__")  # the old protocols' name
        for kind in (dict, list, tuple, set, frozenset, bytes, bytearray)
    },
}


class _Unpickler(pickle.Unpickler):
    """An unpickler for which only the names in ``_ALLOWED`` exist."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in _ALLOWED:
            raise RefusedPickle(
                f"the pickle asks for {full}, which is neither a numpy array nor a "
                "plain container; it was stopped there and nothing was executed. Do "
                "not use this file: get it again from its makers or, if it is your "
                "own, save its arrays as numpy arrays"
            )
        return _ALLOWED[full]


def read_pickle(stream: BinaryIO, name: str) -> Any:
    """Read a pickle of arrays and plain containers without executing anything.

    Parameters
    ----------
    stream : binary file
        The pickle.
    name : str
        The file's name, for messages.

    Returns
    -------
    object
        What the pickle holds; arrays are still wrapped, see :func:`unwrap`.

    Raises
    ------
    RefusedPickle
        If the pickle asks for anything else, named in full.
    DataError
        If the file is not a pickle, or a damaged one.
    """
    try:
        return _Unpickler(stream).load()
    except RefusedPickle as error:
        raise RefusedPickle(f"{name}: {error}") from None
    except Exception as error:  # a damaged pickle may fail in any way whatever
        raise DataError(
            f"{name}: not a readable pickle ({type(error).__name__}: {error}); the "
            "file may be cut short: get it again"
        ) from error


def unwrap(value: Any) -> Any:
    """Turn a wrapped array into a numpy array; anything else stays as it is.

    Raises
    ------
    ValueError, TypeError or AttributeError
        If shape, type and bytes of the array do not fit each other.
    """
    return value.numpy() if isinstance(value, _Array) else value


@dataclass
class _Columns:
    """The columns of one split, and how to complain about them."""

    file: str
    split: str
    values: dict[str, Any]
    repairs: list[Repair]

    def error(self, key: str, problem: str, row: int | None = None) -> DataError:
        """Describe a problem with its file, split, key and row."""
        where = f"{self.file}: split {self.split!r}, key {key!r}"
        if row is not None:
            where += f", row {int(row)}"
        return DataError(f"{where}: {problem}")

    def column(self, key: str) -> Any:
        if key not in self.values:
            found = ", ".join(sorted(map(str, self.values)))
            raise self.error(
                key, f"the key is missing (found: {found}); this is not the MMSA layout"
            )
        try:
            return unwrap(self.values[key])
        except (ValueError, TypeError, AttributeError) as error:
            raise self.error(
                key, f"the array is damaged ({error}); get the file again"
            ) from error

    def strings(self, key: str) -> tuple[str, ...]:
        """Return a column of strings, one per clip."""
        column = self.column(key)
        column = column.tolist() if isinstance(column, np.ndarray) else column
        if not isinstance(column, Sequence) or isinstance(column, str | bytes):
            raise self.error(key, f"expected a list of strings, found {_kind(column)}")
        for row, value in enumerate(column):
            if not isinstance(value, str):
                raise self.error(key, f"expected a string, found {_kind(value)}", row)
        return tuple(column)

    def numbers(self, key: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """Return a column of numbers of a shape; None in a shape fits any length."""
        column = self.column(key)
        try:
            column = np.asarray(column)
        except ValueError as error:  # a list of lists of unequal lengths
            raise self.error(key, f"expected an array of numbers ({error})") from error
        if column.dtype.kind not in "biuf":
            raise self.error(
                key, f"expected numbers, found an array of type {column.dtype}"
            )
        fits = column.ndim == len(shape) and all(
            want in (None, have) for want, have in zip(shape, column.shape, strict=True)
        )
        if not fits:
            want = ", ".join("any" if size is None else str(size) for size in shape)
            raise self.error(
                key, f"expected the shape ({want}), found {tuple(column.shape)}"
            )
        if 0 in column.shape:
            raise self.error(key, f"the array is empty: its shape is {column.shape}")
        return column

    def labels(self, key: str, count: int, bounds: tuple[float, float]) -> Tensor:
        """Return sentiment scores, float32, shape (N,)."""
        values = self.numbers(key, (count,)).astype(np.float32)
        low, high = bounds
        # NaN fails both comparisons, so it lands here with what is out of range. The
        # tolerance is for scores that were averaged in single precision.
        bad = ~((values >= low - 1e-5) & (values <= high + 1e-5))
        if bad.any():
            row = int(bad.argmax())
            raise self.error(
                key,
                f"the label is {values[row]}, not a score from {low:g} to {high:g}; "
                f"{int(bad.sum())} row(s) are like this. Correct or remove them",
                row,
            )
        return torch.from_numpy(values)

    def text(self, count: int) -> tuple[Tensor, Tensor]:
        """Return token ids, int64, and their mask, bool, both of shape (N, L)."""
        key = "text_bert"
        values = self.numbers(key, (count, 3, None))
        ids, mask = values[:, 0], values[:, 1]  # (N, L)
        # NaN and inf fail as well. Up to 2**24 single precision is exact.
        whole = (ids >= 0) & (ids < 2**24) & (ids == np.floor(ids))
        if not whole.all():
            row = int((~whole).any(1).argmax())
            raise self.error(
                key, "a token id is not a whole number from 0 to 2**24", row
            )
        binary = ((mask == 0) | (mask == 1)).all(1)
        if not binary.all():
            row = int((~binary).argmax())
            raise self.error(key, "the attention mask is not made of 0 and 1", row)
        mask = mask == 1
        # Right-padded: a prefix of ones. The first token must be there.
        prefix = mask[:, 0] & ~(mask[:, 1:] & ~mask[:, :-1]).any(1)
        if not prefix.all():
            row = int((~prefix).argmax())
            raise self.error(
                key,
                "the attention mask must be ones, then zeros, and start with a one",
                row,
            )
        return torch.from_numpy(ids.astype(np.int64) * mask), torch.from_numpy(mask)

    def lengths(self, key: str, count: int, steps: int) -> Tensor:
        """Return the number of real steps, int64, shape (N,), within 1 and T."""
        values = self.numbers(key, (count,))
        bad = ~((values >= 0) & (values <= steps) & (values == np.floor(values)))
        if bad.any():
            row = int(bad.argmax())
            raise self.error(
                key,
                f"the length is {values[row]}, not a whole number from 1 to {steps}, "
                f"the padded length; {int(bad.sum())} row(s) are like this. Correct "
                "the lengths or remove the rows",
                row,
            )
        lengths = values.astype(np.int64)
        empty = int((lengths == 0).sum())
        if empty:
            # The official unaligned files may hold clips where nothing was detected;
            # a sequence needs one step, and its padding is the zero vector it is.
            self.repairs.append(Repair(self.split, key, "empty", empty))
        return torch.from_numpy(np.maximum(lengths, 1))

    def sequences(self, key: str, lengths: Tensor, values: np.ndarray) -> Tensor:
        """Return features, float32, shape (N, T, d); finite, and 0 at padding."""
        with np.errstate(over="ignore"):  # what overflows is counted just below
            features = torch.from_numpy(values.astype(np.float32))
        infinite = ~torch.isfinite(features)
        count = int(infinite.sum())
        if count:
            features[infinite] = 0.0
            self.repairs.append(Repair(self.split, key, "not finite", count))
        padding = torch.arange(features.shape[1]) >= lengths[:, None]  # (N, T)
        used = int((features.ne(0).any(2) & padding).sum())
        if used:
            features[padding] = 0.0
            self.repairs.append(Repair(self.split, key, "padding", used))
        return features


def _kind(value: Any) -> str:
    return type(value).__name__.lstrip("_").lower()


def _split(columns: _Columns, source: DataSource) -> Split:
    """Validate the columns of one split and turn them into tensors."""
    ids = columns.strings("id")
    count = len(ids)
    if count == 0:
        raise columns.error("id", "the split is empty")
    raw_text = columns.strings("raw_text")
    if len(raw_text) != count:
        raise columns.error(
            "raw_text", f"{len(raw_text)} texts for {count} ids; they must pair up"
        )
    token_ids, token_mask = columns.text(count)

    sequences = {}
    for modality in ("audio", "vision"):
        values = columns.numbers(modality, (count, None, None))
        key = f"{modality}_lengths"
        if source.view == "aligned" and key not in columns.values:
            # The makers aligned both to the words and published no lengths: a step
            # is a token, and the text says how many there are.
            if values.shape[1] != token_mask.shape[1]:
                raise columns.error(
                    modality,
                    f"{values.shape[1]} steps for {token_mask.shape[1]} tokens; an "
                    "aligned file has one step per token",
                )
            lengths = token_mask.sum(1)
        else:
            lengths = columns.lengths(key, count, values.shape[1])
        sequences[modality] = columns.sequences(modality, lengths, values)
        sequences[key] = lengths

    bounds = source.label_range
    modality_labels = {}
    if source.dataset == "sims":
        for modality in ("text", "audio", "vision"):
            key = f"regression_labels_{modality[0].upper()}"
            modality_labels[modality] = columns.labels(key, count, bounds)
    return Split(
        name=columns.split,
        ids=ids,
        raw_text=raw_text,
        token_ids=token_ids,
        token_mask=token_mask,
        labels=columns.labels("regression_labels", count, bounds),
        modality_labels=modality_labels,
        **sequences,
    )


def _check_ids(file: str, splits: dict[str, Split]) -> None:
    """Refuse a clip that is in the file twice, in one split or in two."""
    seen: dict[str, tuple[str, int]] = {}
    for name, split in splits.items():
        for row, clip in enumerate(split.ids):
            if clip in seen:
                other, before = seen[clip]
                raise DataError(
                    f"{file}: split {name!r}, key 'id', row {row}: the id {clip!r} is "
                    f"already in split {other!r}, row {before}; ids must be unique and "
                    "splits must not share clips. Remove one of the two"
                )
            seen[clip] = (name, row)


def _check_shapes(file: str, splits: dict[str, Split]) -> None:
    """Refuse splits whose sequences differ in padded length or width."""
    first = next(iter(splits.values()))
    for name, split in splits.items():
        for key, tensor in (
            ("text_bert", "token_ids"),
            ("audio", "audio"),
            ("vision", "vision"),
        ):
            have = tuple(getattr(split, tensor).shape[1:])
            want = tuple(getattr(first, tensor).shape[1:])
            if have != want:
                raise DataError(
                    f"{file}: split {name!r}, key {key!r}: shape (N, *{have}) differs "
                    f"from (N, *{want}) in split {first.name!r}; the splits must come "
                    "from one file"
                )


def read_splits(
    path: Path, source: DataSource
) -> tuple[dict[str, Split], str, tuple[Repair, ...]]:
    """Read and validate a pickle in the MMSA layout.

    Parameters
    ----------
    path : Path
        The file.
    source : DataSource
        What the file claims to be: its view and label range, and its path below the
        data folder, by which messages name it.

    Returns
    -------
    splits : dict of str to Split
        Keyed by split name.
    sha256 : str
        SHA-256 of the file, in hexadecimal.
    repairs : tuple of Repair
        Everything that was repaired.

    Raises
    ------
    RefusedPickle
        If the pickle asks for anything but arrays and plain containers.
    DataError
        If the contents break the layout; the message names file, split, key and row.
    """
    name = source.path  # two data sets have files of the same name
    with path.open("rb") as stream:
        # One open file for both, so that what was hashed is what is read.
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        stream.seek(0)
        content = read_pickle(stream, name)
    if not isinstance(content, dict):
        raise DataError(
            f"{name}: expected a dictionary of splits, found {_kind(content)}"
        )
    splits, repairs = {}, []
    for split in SPLITS:
        columns = content.pop(split, None)  # a split's raw bytes go once it is read
        if not isinstance(columns, dict):
            problem = "is missing" if columns is None else f"is a {_kind(columns)}"
            raise DataError(
                f"{name}: split {split!r} {problem}; the MMSA layout has a dictionary "
                f"of columns for each of {', '.join(SPLITS)}"
            )
        splits[split] = _split(_Columns(name, split, columns, repairs), source)
    _check_shapes(name, splits)
    _check_ids(name, splits)
    return splits, sha256, tuple(repairs)
