"""The picture of a model's architecture, drawn from its description.

Boxes and arrows come from :mod:`msa.report.anatomy`; every shape comes from a real
forward pass (:mod:`msa.report.walk`). Nothing is placed by hand but row and span.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from msa.data.contract import MODALITIES
from msa.report.anatomy import LANES, Part, matches
from msa.report.labels import slug
from msa.report.style import MODALITY_COLOURS, Picture, house_style, system_style
from msa.report.walk import Walk, counted, in_symbols, symbols

LANE = 2.8
"""Width of a modality's lane, in inches."""

_MARGIN = 0.09
_GAP = 0.36
_LINE = 0.185
_PADDING = 0.16
_LETTER = 0.085
"""Width of a bold letter at the size of titles: decides where they break."""

_GREY = "#444444"


@dataclass(frozen=True)
class Box:
    """A box of the picture.

    Attributes
    ----------
    name : str
    lines : tuple of (str, str)
        Style (``"title"``, ``"where"`` or ``"shape"``) and text of every line.
    row : int
    span : tuple of float
        Left and right edge, in lanes.
    after : tuple of str
        Names of the boxes above it that it reads.
    colour : str
        Of its edge.
    """

    name: str
    lines: tuple[tuple[str, str], ...]
    row: int
    span: tuple[float, float]
    after: tuple[str, ...]
    colour: str

    @property
    def height(self) -> float:
        """In inches."""
        return len(self.lines) * _LINE + _PADDING


def boxes(found: Walk) -> list[Box]:
    """Return the boxes of a model's picture: inputs, parts, loss."""
    known = symbols(found.batch)
    colour = system_style(found.name).colour
    out = []
    used = {name for part in found.anatomy.parts for name in part.after}
    for m in MODALITIES:
        if m in used:
            rows, width = len(found.batch.steps[m].rows), found.batch.inputs[m].shape[2]
            shape = in_symbols((rows, width), known)
            lines = (("title", m), ("shape", shape))
            out.append(Box(m, lines, 0, LANES[m], (), MODALITY_COLOURS[m]))
    for part in found.anatomy.parts:
        lines = [("title", line) for line in _wrapped(part.title, part.span)]
        lines += [("where", line) for line in _wrapped(part.where, part.span)]
        shape = result_of(found, part)
        if shape:
            lines.append(("shape", shape))
        out.append(
            Box(part.name, tuple(lines), part.row, part.span, part.after, colour)
        )
    last = max(part.row for part in found.anatomy.parts) + 1
    terms = ", ".join(name.replace("_", " ") for name in found.terms)
    span = (0.0, 3.0)
    lines = [("title", "Loss"), *(("where", line) for line in _wrapped(terms, span))]
    out.append(Box("loss", tuple(lines), last, span, found.anatomy.reads, _GREY))
    return out


def result_of(found: Walk, part: Part) -> str:
    """Return what goes out of a part, in symbols; empty if it runs nothing itself."""
    own = [call for call in found.calls if call.part is part]
    if not own:
        return ""
    last = next(key for key in part.calls if matches(key, own[-1].name))
    results = part.shows or (last,)
    known = symbols(found.batch)
    words = [
        in_symbols(shape, known)
        for call in own
        if any(matches(pattern, call.name) for pattern in results)
        for shape in call.went
    ]
    return counted(words)


def draw(found: Walk) -> Picture:
    """Draw a model's architecture."""
    with house_style():
        figure = figure_of(boxes(found))
        caption = (
            f"{found.name}. B clips, P real steps of a modality (all clips together), "
            "T padded steps; widths as on the demo set. Every shape is read off a "
            "forward pass."
        )
        picture = Picture.of(
            figure, f"architecture-{slug(found.name)}", alt_text(found), caption
        )
        plt.close(figure)
        return picture


def figure_of(content: list[Box]) -> Figure:
    """Draw boxes and arrows; a box is a patch, and its lines are texts, in order."""
    tops, depth = _tops(content)
    by_name = {box.name: box for box in content}
    width = 3 * LANE
    figure = plt.figure(figsize=(width, depth))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, width), ylim=(depth, 0))
    axis.set_axis_off()
    for box in content:
        _draw_box(axis, box, tops[box.row])
        for name in box.after:
            _draw_arrow(axis, by_name[name], box, content, tops)
    return figure


def alt_text(found: Walk) -> str:
    """Say in words what the picture shows."""
    sentences = [f"Architecture of {found.name}, from top to bottom."]
    titles = {m: m for m in MODALITIES}
    for part in found.anatomy.parts:
        _, _, lane = part.name.rpartition(" ")
        title = f"{part.title} of {lane}" if lane in MODALITIES else part.title
        titles[part.name] = title
        sources = " and ".join(dict.fromkeys(titles[name] for name in part.after))
        shape = result_of(found, part)
        gives = f", gives {shape}" if shape else ""
        sentences.append(f"{title} ({part.where}) reads {sources}{gives}.")
    terms = ", ".join(found.terms)
    return " ".join([*sentences, f"The loss adds up {terms}."])


def _wrapped(text: str, span: tuple[float, float]) -> list[str]:
    width = (span[1] - span[0]) * LANE - 2 * _MARGIN - 0.1
    return textwrap.wrap(text, int(width / _LETTER))


def _tops(content: list[Box]) -> tuple[dict[int, float], float]:
    """Return the upper edge of every row, and the height of the picture."""
    tops, y = {}, _MARGIN
    for row in range(max(box.row for box in content) + 1):
        tops[row] = y
        y += max(box.height for box in content if box.row == row) + _GAP
    return tops, y - _GAP + _MARGIN


def _draw_box(axis: Axes, box: Box, top: float) -> None:
    left, right = (edge * LANE for edge in box.span)
    left, right = left + _MARGIN, right - _MARGIN
    axis.add_patch(
        FancyBboxPatch(
            (left, top),
            right - left,
            box.height,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor="#F7F7F7" if box.name != "loss" else "white",
            edgecolor=box.colour,
            linewidth=1.4,
            linestyle="--" if box.name == "loss" else "-",
        )
    )
    styles = {
        "title": {"weight": "bold", "size": 9},
        "where": {"style": "italic", "size": 8.5, "color": _GREY},
        "shape": {"size": 9},
    }
    for number, (kind, text) in enumerate(box.lines):
        y = top + _PADDING / 2 + (number + 0.5) * _LINE
        axis.text((left + right) / 2, y, text, ha="center", va="center", **styles[kind])


def _draw_arrow(
    axis: Axes, above: Box, below: Box, content: list[Box], tops: dict[int, float]
) -> None:
    place = channel(above, below, content) * LANE
    axis.annotate(
        "",
        xy=(place, tops[below.row] - 0.01),
        xytext=(place, tops[above.row] + above.height + 0.01),
        arrowprops={
            "arrowstyle": "-|>",
            "color": _GREY,
            "linewidth": 1.1,
            "mutation_scale": 11,
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )


def channel(above: Box, below: Box, content: list[Box]) -> float:
    """Return where a straight arrow can run between two boxes, in lanes.

    The middle of the widest stretch that both span and no box between them covers.

    Raises
    ------
    ValueError
        If there is none: the description must place the boxes otherwise.
    """
    left = max(above.span[0], below.span[0])
    right = min(above.span[1], below.span[1])
    free = [(left, right)]
    for box in content:
        if above.row < box.row < below.row:
            free = [piece for part in free for piece in _without(part, box.span)]
    widest = max(free, key=lambda part: part[1] - part[0], default=(0.0, 0.0))
    if widest[1] - widest[0] <= 0.05:
        raise ValueError(
            f"no straight arrow fits from {above.name!r} to {below.name!r}"
        )
    return sum(widest) / 2


def _without(
    part: tuple[float, float], covered: tuple[float, float]
) -> list[tuple[float, float]]:
    pieces = (part[0], min(part[1], covered[0])), (max(part[0], covered[1]), part[1])
    return [piece for piece in pieces if piece[0] < piece[1]]
